"""What triggers have counted, and what there is to count."""

from __future__ import annotations

from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import COUNTED


def recounted(engine: Engine) -> dict[str, tuple[int, int]]:
    """What ``sizes`` must say."""
    found = {}
    for table, (size, _) in COUNTED.items():
        query = f"SELECT count(*), coalesce(sum({size.format(table)}), 0) FROM {table}"
        found[table] = engine._db.execute(query).fetchone()
    return found


def counted(engine: Engine) -> dict[str, tuple[int, int]]:
    return {name: (rows, size) for name, rows, size in engine._db.execute("SELECT * FROM sizes")}
