"""Reading files of which what does not fit goes into a column of its own: ``on_schema_change: rescue``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from odibi_actors.batches.ipc import check_limits, encode_schema
from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import listed
from odibi_actors.kinds.source import ReadResult
from odibi_actors.model import RESCUED, SchemaChange
from odibi_actors.nodes.failures import Failed, shorten
from odibi_actors.nodes.formats.columns import twin
from odibi_actors.nodes.formats.rescued import Texts, joined
from odibi_actors.nodes.schemas import override
from odibi_actors.runtime.visible import in_line, named

MAX_SHOWN = 60
"""Characters of a value that is told."""


def check_known(schema: pa.Schema) -> None:
    """Raise Failed where the files themselves have had the column until now."""
    if RESCUED in schema.names:
        raise Failed(
            "invalid",
            f"the files have a column {RESCUED!r}, which is that of what is rescued: leave it out, with "
            f"{listed('read.ignore', RESCUED)}, or choose another on_schema_change",
            column=RESCUED,
        )


class Rescue:
    """What is kept of the files of one iteration, in their order; ``schema``: the columns that are known."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._types = dict(zip(schema.names, schema.types, strict=True))
        self._kept: list[pa.Array] = []
        self._changes: dict[tuple[str, str], SchemaChange] = {}

    def add(self, identity: str, rows: int, rescued: Mapping[str, Texts]) -> None:
        """Take in what did not fit of one file."""
        self._kept.append(joined(rows, rescued))
        for name, texts in rescued.items():
            first = next((text for text in texts if text is not None), None)
            if first is None:
                continue
            change = self._change(identity, name, first)
            self._changes.setdefault((name, change.change), change)

    def _change(self, identity: str, name: str, first: str) -> SchemaChange:
        kind = self._types.get(name)
        if kind is None:
            return SchemaChange(name, "rescued", twin=twin(name, self._schema.names))
        value = in_line(shorten(first, MAX_SHOWN))
        return SchemaChange(name, "misfit", type_name(kind), f"; the first is {value} in {named(identity)}")

    def changes(self) -> Iterator[SchemaChange]:
        """What is other than before."""
        yield from self._changes.values()

    def with_kept(self, table: pa.Table) -> pa.Table:
        """All rows, with what was kept of each. Raises BatchError."""
        whole = table.append_column(pa.field(RESCUED, pa.string()), pa.chunked_array(self._kept, pa.string()))
        check_limits(whole.num_rows, whole.nbytes)
        return whole


def empty(result: ReadResult) -> ReadResult:
    """With the column, of rows of which nothing was kept."""
    nothing = pa.nulls(result.table.num_rows, pa.string())
    return result._replace(table=result.table.append_column(pa.field(RESCUED, pa.string()), nothing))


def declared_anyway(result: ReadResult, schema: pa.Schema, declared: Mapping[str, pa.DataType]) -> ReadResult:
    """What a first batch tells, with the declared types also where its own values are not of them."""
    told = override(schema, {name: kind for name, kind in declared.items() if name in schema.names})
    notes = ["declared" if name in declared else note for name, note in zip(told.names, result.notes, strict=True)]
    texts = [f"{field.name}: {type_name(field.type)}" for field in told]
    return result._replace(schema=encode_schema(told), schema_text=texts, notes=notes)
