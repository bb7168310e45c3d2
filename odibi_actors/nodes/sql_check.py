"""What DuckDB can tell of a transform's SQL before it has seen a row: syntax, statements, tables, functions, and
whether functions take their arguments, as far as the types of its inputs are known.

Types may be known in part only (``read.schema`` may be partial, Python functions return what they will). So of what
binding says only that counts which is about types: those it names are declared, whatever else there is. Where all
columns are known everything counts.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from odibi_actors.errors import NodeError
from odibi_actors.nodes.schemas import parse_type
from odibi_actors.nodes.sql import SETTINGS, quote

Types = Mapping[str, str]
"""Columns of a table, as far as they are known, by their DuckDB types."""
_FILES = ("glob", "sniff_csv", "parquet_scan", "arrow_scan", "which_secret")
_OWN_SCHEMAS = ("", "main", "temp")
_NOWHERE = 2**64 - 1
_PLAIN = re.compile(r"BOOLEAN|U?(TINY|SMALL|BIG)?INT|U?INTEGER|FLOAT|DOUBLE|VARCHAR|BLOB|DATE|TIMESTAMP.*|DECIMAL.*")
"""Types that pass from node to node as they are."""
_CERTAIN = re.compile(r"Cannot (mix|compare) values of type|column .* must appear in the GROUP BY clause")
"""What cannot be bound whatever other columns there are."""
_MISMATCH = re.compile(r"No function matches the given name and argument types '(.+?)'\.", re.DOTALL)


class SqlProblem(NamedTuple):
    """``offset``: characters of the SQL before the place it is about."""

    offset: int
    message: str
    suggestion: str = ""


Checked = tuple[list[SqlProblem], Types, bool]


class SqlChecker:
    """Checks the SQL of a project's nodes on one empty DuckDB."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:", config=dict(SETTINGS))
        self._connection.execute("set errors_as_json = true")
        names = self._connection.execute("select distinct lower(function_name) from duckdb_functions()").fetchall()
        self._functions = {str(name) for (name,) in names}

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def declared(self, schema: Mapping[str, str]) -> dict[str, str]:
        """The DuckDB types of columns declared by their Arrow types; without those that are not valid."""
        fields = []
        for name, text in schema.items():
            try:
                fields.append(pa.field(name, parse_type(str(text))))
            except (ValueError, NodeError):
                continue  # told where the schema is checked
        if not fields:
            return {}
        relation = self._connection.from_arrow(pa.schema(fields).empty_table())
        return _known(relation)

    def check(self, sql: str, inputs: Mapping[str, Types], *, unknown: bool = False, whole: bool = False) -> Checked:
        """What is wrong with one node's SQL, the columns it returns as far as they are known, and whether these are
        all. ``unknown``: one of its inputs is no node, so that nobody knows what the tables are to be. ``whole``: all
        columns of all inputs are known."""
        try:
            statements = self._connection.extract_statements(sql)
        except duckdb.Error as error:
            offset, message = _told(error, sql)
            return [SqlProblem(offset, f"SQL does not parse: {message}")], {}, False
        if problem := _one_select(sql, statements):
            return [problem], {}, False
        tree = self._tree(sql)
        tables = () if tree is None or unknown else _tables(sql, tree, list(inputs))
        problems = [] if tree is None else [*tables, *self._calls(sql, tree)]
        return (problems, {}, False) if problems or unknown else self._bind(statements[0].query, sql, inputs, whole)

    def tables(self, sql: str) -> list[str]:
        """The tables that a query reads, in the order of its text, without those of its WITH; none where it does not
        parse, which ``check`` tells."""
        try:
            tree = self._tree(sql)
        except duckdb.Error:
            return []
        within = _withs(tree)
        parts = [part for part in _parts(tree) if part.get("type") == "BASE_TABLE" and not part.get("schema_name")]
        names = [str(part.get("table_name")) for part in parts]
        return list(dict.fromkeys(name for name in names if name.lower() not in within))

    def _tree(self, sql: str) -> Any:
        """The syntax tree; None for what DuckDB cannot write as one."""
        found = self._connection.execute("select json_serialize_sql(?::varchar)", [sql]).fetchone()
        tree = json.loads(found[0]) if found else {"error": True}
        return None if tree.get("error") else tree

    def _calls(self, sql: str, tree: Any) -> Iterator[SqlProblem]:
        """Functions that there are not, or that read files."""
        told: dict[str, None] = {}
        for part in _parts(tree):
            if part.get("class") not in ("FUNCTION", "WINDOW") or part.get("schema"):
                continue
            name = str(part.get("function_name", "")).lower()
            if not name or name in told:
                continue
            offset = _offset(sql, part)
            if name.startswith("read_") or name in _FILES:
                told[name] = None
                yield SqlProblem(offset, f"{name} reads files: SQL sees its inputs only", "read them by a read node")
            elif name not in self._functions:
                told[name] = None
                near = difflib.get_close_matches(name, sorted(self._functions), n=1, cutoff=0.7)
                hint = f'did you mean "{near[0]}"?' if near else "see DuckDB's list of functions"
                yield SqlProblem(offset, f"there is no SQL function {name}", hint)

    def _bind(self, query: str, sql: str, inputs: Mapping[str, Types], whole: bool) -> Checked:
        if not all(inputs.values()):
            return [], {}, False
        try:
            for name, types in inputs.items():
                columns = ", ".join(f"cast(null as {kind}) as {quote(column)}" for column, kind in types.items())
                self._connection.execute(f"create or replace temp view {quote(name)} as select {columns} limit 0")
            relation = self._connection.sql(query)
            types = _known(relation)
            return [], types, whole and len(types) == len(relation.columns)
        except duckdb.BinderException as error:
            offset, message = self._placed(query, error)
            offset += len(sql) - len(query)  # a query begins behind comments, and ends where the text does
            if found := _MISMATCH.search(message):
                return (
                    [SqlProblem(offset, f"no function takes these types: {found[1]}", "cast its arguments")],
                    {},
                    False,
                )
            if whole or _CERTAIN.match(message):
                first, _, more = message.partition("\n")
                return [SqlProblem(offset, first, more.partition("\n")[0])], {}, False
            return [], {}, False  # a column that is not declared, and what follows from that: only the run can tell
        except duckdb.Error:
            return [], {}, False
        finally:
            for name in inputs:
                self._connection.execute(f"drop view if exists temp.{quote(name)}")

    def _placed(self, query: str, error: duckdb.Error) -> tuple[int, str]:
        """Of what cannot be bound DuckDB tells the place where it is executed: nothing is, and there are no rows."""
        try:
            self._connection.execute(query)
        except duckdb.BinderException as placed:
            return _told(placed, query)
        except duckdb.Error:
            pass
        return _told(error, query)


def _known(relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    kinds = ["BIGINT" if str(kind) == "HUGEINT" else str(kind) for kind in relation.types]
    return {name: kind for name, kind in zip(relation.columns, kinds, strict=True) if _PLAIN.fullmatch(kind)}


def _one_select(sql: str, statements: list[duckdb.Statement]) -> SqlProblem | None:
    if not statements:
        return SqlProblem(0, "holds no statement", "a transform is exactly one SELECT")
    if len(statements) > 1:
        start = statements[1].query.strip()
        offset = max(sql.find(start, len(statements[0].query.strip())), 0)
        return SqlProblem(offset, f"{len(statements)} SQL statements", "a transform is exactly one SELECT")
    kind = statements[0].type
    if kind == duckdb.StatementType.SELECT:
        return None
    if kind == duckdb.StatementType.MULTI:
        hint = "list them: PIVOT ... ON column IN ('a', 'b')"
        return SqlProblem(0, "PIVOT without the values that become columns", hint)
    return SqlProblem(0, f"{kind.name} is not run", "a transform is exactly one SELECT (WITH is fine)")


def _tables(sql: str, tree: Any, inputs: list[str]) -> Iterator[SqlProblem]:
    """Tables that are not among the inputs, from the syntax tree: DuckDB's own ``get_table_names`` binds, and so
    refuses every USING."""
    known = {name.lower() for name in inputs} | _withs(tree)
    told: dict[str, None] = {}
    for part in _parts(tree):
        if part.get("type") != "BASE_TABLE":
            continue
        name = str(part.get("table_name"))
        schema = str(part.get("schema_name") or "")
        shown = f"{schema}.{name}" if schema else name
        if schema.lower() in ("information_schema", "pg_catalog") or shown in told:
            continue
        if schema.lower() in _OWN_SCHEMAS and not part.get("catalog_name") and name.lower() in known:
            continue
        told[shown] = None
        near = difflib.get_close_matches(name, inputs, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"its inputs: {', '.join(inputs) or 'none'}"
        yield SqlProblem(_offset(sql, part), f"reads {shown}, which is not among its inputs", hint)


def _withs(tree: Any) -> set[str]:
    """Names that a WITH defines, in lower case."""
    return {
        str(one["key"]).lower()
        for part in _parts(tree)
        if isinstance(part.get("cte_map"), dict)
        for one in part["cte_map"].get("map") or []
    }


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """All mappings of the tree, in the order of the text as far as DuckDB keeps it."""
    left: list[Any] = [tree]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
            left += reversed(list(part.values()))
        elif isinstance(part, list):
            left += reversed(part)


def _offset(sql: str, part: Mapping[str, Any]) -> int:
    place = part.get("query_location", _NOWHERE)
    return _characters(sql, place) if isinstance(place, int) and place != _NOWHERE else 0


def _characters(sql: str, place: int) -> int:
    """DuckDB counts bytes."""
    return len(sql.encode()[:place].decode(errors="replace"))


def _told(error: duckdb.Error, sql: str) -> tuple[int, str]:
    """(characters before the place, what is wrong) of an error that DuckDB wrote as JSON."""
    text = str(error)
    try:
        found = json.loads(text[text.index("{") :])
        place = str(found.get("position", "") or str(found.get("location", "")).strip("[").partition(",")[0])
        return (_characters(sql, int(place)) if place.isdigit() else 0), str(found["exception_message"])
    except (ValueError, KeyError, TypeError):
        return 0, text.split("\n", maxsplit=1)[0]
