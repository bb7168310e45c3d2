"""What the files of a first batch are inferred as, all of them together, and what is told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.remedies import schema
from odibi_actors.nodes.formats import Parsed
from odibi_actors.nodes.formats.columns import alike
from odibi_actors.nodes.formats.exact import Inferred, Spelling, infer
from odibi_actors.nodes.formats.typed import held, related
from odibi_actors.nodes.schemas import settle, widen

SUNK = " (a sink that holds it as text needs a cast before it, or a reset)"


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
        self.folders: Collection[str] = ()
        """Those of them whose type a sink has told that has made folders of them."""
        self._spelling = spelling
        self._texts = texts
        self._sparse = False
        self._tables: list[pa.Table] = []
        self._columns: list[dict[str, pa.ChunkedArray]] = []  # of each table: of thousands each look-up counts
        self._inferred: dict[str, Inferred] = {}
        self._quoted: dict[str, None] = {}
        self._widened: dict[str, list[str]] = {}
        self.names: list[str] = []
        self.left_out: list[str] = []

    def add(self, parsed: Parsed) -> None:
        """Take a file in."""
        self._tables.append(parsed.table)
        self._columns.append(columns_of(parsed.table))
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
        kinds = [columns[name].type for columns in self._columns if name in columns]
        if not self._texts:
            kind = kinds[0]
            for other in kinds[1:]:
                kind = widen(kind, other)
            self._check(name, kind)
            self._widened[name] = list(dict.fromkeys(type_name(one) for one in kinds if not pa.types.is_null(one)))
            return kind
        if name in self._quoted:
            return pa.string()
        self._inferred[name] = infer(self._joined(name, pa.string()), self._spelling)
        return self._inferred[name].values.type

    def _check(self, name: str, kind: pa.DataType) -> None:
        """Raise Clash unless ``kind`` can hold what each file has."""
        found = [(place, columns[name].type) for place, columns in enumerate(self._columns)
                 if name in columns and not pa.types.is_null(columns[name].type)]  # fmt: skip
        holds = held if self._sparse else related
        if all(holds(one, kind) for _, one in found):
            return
        (first, former), *others = found
        place, other = next(one for one in others if one[1] != former)
        raise Clash(name, first, former, place, other)

    def _joined(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        """The column of all files; null where one lacks it."""
        chunks: list[pa.Array] = []
        for table, columns in zip(self._tables, self._columns, strict=True):
            chunks += columns[name].chunks if name in columns else [pa.nulls(table.num_rows, kind)]
        return pa.chunked_array(chunks, kind)

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
                values = self._joined(field.name, field.type)
            columns.append(values)
        return [pa.Table.from_arrays(columns, schema=schema)]

    @staticmethod
    def _of(schema: pa.Schema, table: pa.Table) -> bool:
        types = dict(zip(schema.names, schema.types, strict=True))
        return all(field.type == types[field.name] for field in table.schema)

    def notes(self, schema: pa.Schema) -> list[str]:
        """How the type of each column came, in words."""
        twins = self._twins()
        return [self._note(field) + twins.get(field.name, "") for field in schema]

    def _note(self, field: pa.Field) -> str:
        name = field.name
        if name in self.folders:
            return "as its sink was given it, which makes folders of it"
        if name in self._declared:
            return "declared"
        if name in self._quoted:
            return "inferred: it has quoted cells, and options.quoted_is_text"
        found = self._inferred.get(name)
        if found is not None and found.why:
            way = f"; {schema('read', name, found.kind)} with {found.option} reads it from here on{SUNK}, where all "
            way += "numbers of the source are written so"
            return f"inferred: {found.why}{way if found.option else ''}"
        if found is not None and pa.types.is_null(found.values.type):
            return "inferred: no cell has a value"
        widened = self._widened.get(name, [])
        if not self._texts and not widened:
            return "inferred: no row has a value"
        return f"inferred: from {' and '.join(widened)}" if len(widened) > 1 else "inferred"

    def _twins(self) -> dict[str, str]:
        """What to tell of names that have a twin, each with the first of its twins."""
        groups: dict[str, list[str]] = {}
        for name in self.names:
            groups.setdefault(alike(name), []).append(name)
        return {
            name: f"; it differs from {group[name == group[0]]!r} by blanks or case only, which SQL may not tell apart"
            for group in groups.values()
            if len(group) > 1
            for name in group
        }


def columns_of(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The columns by name: ``table[name]`` and ``name in table.column_names`` look at all names of the table."""
    return dict(zip(table.column_names, table.columns, strict=True))
