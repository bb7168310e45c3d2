"""A ``postgres`` connection: a schema of a database, and how to get in there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from odibi_actors.config.kinds import Choice, Key, Number, Secret, Text, duration

PIP = "PostgreSQL needs psycopg: pip install 'odibi-actors[postgres]'"
MAX_NAME = 63
"""Bytes of a name; PostgreSQL cuts longer ones."""
_IDENTIFIER = Text(r"[A-Za-z_][A-Za-z0-9_$-]*", "a name", MAX_NAME)


class PostgresConnection:
    """See ``kinds.connection.Connection``."""

    name = "postgres"
    about = "a schema of a PostgreSQL database"
    folder = False
    keys: Mapping[str, Key] = {
        "host": Key(
            Text(r"[A-Za-z0-9._:/-]+", "a host", 255), "Host, or the folder of its socket; default: localhost."
        ),
        "port": Key(Number(1, 65_535), "Its port; default: 5432."),
        "database": Key(_IDENTIFIER, "The database.", required=True),
        "schema": Key(_IDENTIFIER, "The schema in which tables are; default: public."),
        "user": Key(Text(limit=MAX_NAME), "As whom; default: who runs this."),
        "password": Key(Secret(), "A reference to it; a password itself is refused."),
        "sslmode": Key(Choice(("disable", "prefer", "require", "verify-ca", "verify-full")), "As libpq has it."),
        "timeout": Key(duration(1), "How long a connection, or a statement, may take; default: 60s."),
    }

    def misplaced(self, path: str) -> tuple[str, str]:
        return "", ""

    def missing(self) -> str:
        """See ``kinds.format.lacks``."""
        return "" if find_spec("psycopg") is not None else PIP

    def leads_to(self, section: Mapping[str, Any]) -> str:
        host, port = section.get("host", "localhost"), section.get("port", 5432)
        return f"postgres://{host}:{port}/{section['database']}/{section.get('schema', 'public')}"

    def access(self, section: Mapping[str, Any]) -> dict[str, str]:
        return {key: str(section[key]) for key in self.keys if key in section}


CONNECTION = PostgresConnection()
