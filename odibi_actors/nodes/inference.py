"""What the files of a first batch are inferred as, all of them together, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from odibi_actors.config.arrow_types import type_name
from odibi_actors.nodes.formats import Parsed
from odibi_actors.nodes.formats.columns import alike
from odibi_actors.nodes.formats.exact import Inferred, Spelling, infer
from odibi_actors.nodes.formats.typed import held, related
from odibi_actors.nodes.schemas import settle, widen


class Clash(Exception):
    """Two files, by their places in the batch, whose column ``name`` no type holds: that of the ``first`` is
    ``former``, that at ``place`` ``kind``."""

    def __init__(self, name: str, first: int, former: pa.DataType, place: int, kind: pa.DataType) -> None:
        super().__init__(name)
        self.name = name
        self.first = first
        self.former = former
        self.place = place
        self.kind = kind


class Inference:
    """Collects the files. ``texts``: columns that are not declared are texts, whose cells tell what they are."""

    def __init__(self, declared: dict[str, pa.DataType], spelling: Spelling, *, texts: bool) -> None:
        self._declared = declared
        self._spelling = spelling
        self._texts = texts
        self._sparse = False
        self._tables: list[pa.Table] = []
        self._inferred: dict[str, Inferred] = {}
        self._quoted: dict[str, None] = {}
        self._widened: dict[str, list[str]] = {}
        self.names: list[str] = []
        self.left_out: list[str] = []

    def add(self, parsed: Parsed) -> None:
        """Take a file in."""
        self._tables.append(parsed.table)
        self._sparse |= parsed.sparse
        self._quoted |= dict.fromkeys(parsed.quoted)
        self.names = list(dict.fromkeys([*self.names, *parsed.table.column_names]))
        self.left_out = list(dict.fromkeys([*self.left_out, *parsed.left_out]))

    def expect(self, names: Iterable[str]) -> None:
        """Declared columns that no file needs to have: those that none has come last."""
        self.names = list(dict.fromkeys([*self.names, *names]))

    def schema(self) -> pa.Schema:
        """The types that hold all files."""
        return pa.schema([(name, self._declared.get(name) or settle(self._kind(name))) for name in self.names])

    def _kind(self, name: str) -> pa.DataType:
        kinds = [table.schema.field(name).type for table in self._tables if name in table.column_names]
        if not self._texts:
            kind = kinds[0]
            for other in kinds[1:]:
                kind = widen(kind, other)
            self._check(name, kind)
            self._widened[name] = list(dict.fromkeys(type_name(one) for one in kinds if not pa.types.is_null(one)))
            return kind
        if name in self._quoted:
            return pa.string()
        chunks = [chunk for table in self._tables for chunk in self._column(table, name).chunks]
        self._inferred[name] = infer(pa.chunked_array(chunks, pa.string()), self._spelling)
        return self._inferred[name].values.type

    def _check(self, name: str, kind: pa.DataType) -> None:
        """Raise Clash unless ``kind`` can hold what each file has."""
        found = [(place, table.schema.field(name).type) for place, table in enumerate(self._tables)
                 if name in table.column_names and not pa.types.is_null(table.schema.field(name).type)]  # fmt: skip
        holds = held if self._sparse else related
        if all(holds(one, kind) for _, one in found):
            return
        (first, former), *others = found
        place, other = next(one for one in others if one[1] != former)
        raise Clash(name, first, former, place, other)

    @staticmethod
    def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
        if name in table.column_names:
            return table[name]
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])

    def tables(self, schema: pa.Schema) -> list[pa.Table] | None:
        """The files as tables of this schema; None when they have to be read again for it."""
        if not self._texts:
            return self._tables if all(self._of(schema, table) for table in self._tables) else None
        columns = []
        for field in schema:
            if field.name in self._inferred:
                values = self._inferred[field.name].values
                if values.type != field.type:
                    values = values.cast(field.type)
            else:
                chunks = [
                    chunk
                    for table in self._tables
                    for chunk in (
                        table[field.name].chunks
                        if field.name in table.column_names
                        else [pa.nulls(table.num_rows, field.type)]
                    )
                ]
                values = pa.chunked_array(chunks, field.type)
            columns.append(values)
        return [pa.Table.from_arrays(columns, schema=schema)]

    @staticmethod
    def _of(schema: pa.Schema, table: pa.Table) -> bool:
        return all(field.type == schema.field(field.name).type for field in table.schema)

    def notes(self, schema: pa.Schema) -> list[str]:
        """How the type of each column came, in words."""
        return [self._note(field) + self._twin(field.name) for field in schema]

    def _note(self, field: pa.Field) -> str:
        name = field.name
        if name in self._declared:
            return "declared"
        if name in self._quoted:
            return "inferred: it has quoted cells, and options.quoted_is_text"
        found = self._inferred.get(name)
        if found is not None and found.why:
            return f"inferred: {found.why}"
        if found is not None and pa.types.is_null(found.values.type):
            return "inferred: no cell has a value"
        widened = self._widened.get(name, [])
        if not self._texts and not widened:
            return "inferred: no row has a value"
        return f"inferred: from {' and '.join(widened)}" if len(widened) > 1 else "inferred"

    def _twin(self, name: str) -> str:
        twin = next((other for other in self.names if other != name and alike(other) == alike(name)), None)
        return (
            "" if twin is None else f"; it differs from {twin!r} by blanks or case only, which SQL may not tell apart"
        )
