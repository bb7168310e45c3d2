"""The SQL of a project's transforms, checked node by node. DuckDB is loaded only where there is SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from odibi_actors.config.kinds import BAD
from odibi_actors.config.problems import Problems
from odibi_actors.model import RESCUED

if TYPE_CHECKING:
    from odibi_actors.nodes.sql_check import SqlChecker, Types


class PlacedNode(NamedTuple):
    """A checked node, with the dotted paths of its pipeline and of itself."""

    pipeline: str
    at: str
    section: dict[str, Any]


def check_sql(nodes: Sequence[PlacedNode], files: Mapping[str, str], problems: Problems) -> None:
    """Record what is wrong with any SQL. ``nodes``: in topological order as far as they have one; ``files``: dotted
    path of a ``transform`` -> the file that holds its SQL."""
    if not any("sql" in node.section.get("transform", {}) for node in nodes):
        return
    from odibi_actors.nodes.sql_check import SqlChecker

    checker = SqlChecker()
    names = {(node.pipeline, node.section.get("name")) for node in nodes}
    known: dict[tuple[str, str], Types] = {}
    whole: set[tuple[str, str]] = set()
    """Nodes of which all columns are known."""
    try:
        for node in nodes:
            key = (node.pipeline, node.section.get("name", ""))
            if "read" in node.section:
                known[key] = checker.declared(_said(node.section["read"]))
                if _all_columns(node.section["read"]) == known[key].keys():
                    whole.add(key)
            elif "sql" in node.section.get("transform", {}) and "engine" not in node.section:
                inputs = node.section.get("inputs", [])
                unknown = any((node.pipeline, name) not in names for name in inputs)  # told already
                every = all((node.pipeline, name) in whole for name in inputs)
                known[key], every = _check(checker, node, known, files, problems, unknown=unknown, whole=every)
                if every:
                    whole.add(key)
    finally:
        checker.close()


def _said(read: Mapping[str, Any]) -> dict[str, str]:
    """Columns that a source has by what it says."""
    return {**read.get("schema", {}), **dict.fromkeys(_of_rescue(read), "string")}


def _of_rescue(read: Mapping[str, Any]) -> set[str]:
    return {RESCUED} if read.get("on_schema_change") == "rescue" else set()


def _check(
    checker: SqlChecker,
    node: PlacedNode,
    known: Mapping[tuple[str, str], Types],
    files: Mapping[str, str],
    problems: Problems,
    *,
    unknown: bool,
    whole: bool,
) -> tuple[Types, bool]:
    at = f"{node.at}.transform"
    sql, inputs = node.section["transform"]["sql"], node.section.get("inputs", [])
    if (at in files and not sql.strip()) or BAD in inputs:
        return {}, False  # told already
    tables = {name: known.get((node.pipeline, name), {}) for name in inputs}
    found, types, every = checker.check(sql, tables, unknown=unknown, whole=whole)
    for problem in found:
        problems.add_inside(
            f"{at}.sql_file" if at in files else f"{at}.sql",
            sql,
            problem.offset,
            f"{node.section.get('name', 'a node')}: {problem.message}",
            suggestion=problem.suggestion,
            file=files.get(at, ""),
        )
    return types, every


def _all_columns(read: Mapping[str, Any]) -> set[str]:
    """The columns of a source, where the project file names them all; else none."""
    if read.get("on_schema_change") == "evolve":
        return set()
    if read.get("mode") == "event":
        names = read.get("schema", {})
    else:
        names = read.get("columns") or read.get("options", {}).get("column_names", [])
    return (set(names) - set(read.get("ignore", []))) | _of_rescue(read) if names else set()
