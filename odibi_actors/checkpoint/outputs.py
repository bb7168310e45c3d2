"""``node.show``: one node of an iteration, and where its output is to be found, if that is still kept."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import msgspec

from odibi_actors.checkpoint import adopted, summary
from odibi_actors.checkpoint.asking import Name, Number, suggestion
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import AckDecoder, SinksDecoder
from odibi_actors.errors import NotFoundError
from odibi_actors.model import StagedRef


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``node.show``."""

    pipeline: Name
    iteration: Number
    node: Name


def show(db: sqlite3.Connection, given: Node, shown: dict[str, Any]) -> dict[str, Any]:
    """``shown``: what ``iteration.show`` answers.

    A row of ``node.list`` with ``pipeline``, ``iteration``, ``iteration_state``, its failed tries (``errors``), and
    ``output``: None, or ``where`` (inline, spool, staged, published), ``rows``, ``size``, ``digest``, ``path``,
    ``host``, and ``data`` (the bytes) of an inline one that is kept. Of a sink ``path`` is its part; it may be gone
    from there when ``replaced_by`` names an iteration that overwrites it."""
    rows = {row["node"]: row for row in shown["nodes"]}
    if given.node not in rows:
        hint = suggestion(given.node, list(rows))
        raise NotFoundError(f"iteration {given.iteration} of {given.pipeline} has no node {given.node}{hint}")
    return {
        "pipeline": given.pipeline,
        "iteration": given.iteration,
        "iteration_state": shown["state"],
        **rows[given.node],
        "errors": [error for error in shown["errors"] if error["node"] == given.node],
        "output": _output(db, (given.pipeline, given.iteration), given.node),
    }


def _output(db: sqlite3.Connection, key: tuple[str, int], node: str) -> dict[str, Any] | None:
    what = f"of {key[0]} iteration {key[1]}"
    state, sinks, abandoned, kept = db.execute(
        "SELECT state, sinks, abandoned, summary FROM iterations WHERE pipeline = ? AND iteration = ?", key
    ).fetchone()
    parts = unseal(sinks, SinksDecoder, f"the sinks {what}") if sinks is not None else {}
    if node in parts:
        published = state == "committed" and node not in json.loads(abandoned)
        found = _part(parts[node], published)
        later = replaced_by(db, key, parts[node]) if published and parts[node].replaces else 0
        return {**found, "replaced_by": later} if later else found
    if kept is not None:
        outputs = {one.node: one for one in summary.unpack(kept, what).nodes}
        one = outputs.get(node)
        if one is None:
            return None
        found = {"where": one.where, "rows": one.rows_out, "size": one.size, "digest": one.digest}
        return {**found, "path": one.path, "host": "", "data": None}
    query = "SELECT payload FROM acks WHERE pipeline = ? AND iteration = ? AND node = ?"
    row = db.execute(query, (*key, node)).fetchone()
    if row is None:
        return None
    ack = unseal(row[0], AckDecoder, f"the ack of {node} {what}")
    if ack.staged is not None:
        return _part(ack.staged, published=False)
    if ack.output is None:
        return None
    ref = ack.output
    return {
        "where": "spool" if ref.path else "inline",
        "rows": ref.rows,
        "size": ref.size,
        "digest": ref.digest,
        "path": ref.path,
        "host": ref.host,
        "data": None if ref.path else ref.data,
    }


def _part(part: StagedRef, published: bool) -> dict[str, Any]:
    return {
        "where": "published" if published else "staged",
        "rows": part.rows,
        "size": part.size,
        "digest": part.digest,
        "path": (part.published or part.at.name) if published else part.staged,
        "at": msgspec.to_builtins(part.at),
        "rows_of_table": published and not part.published,
        "name": part.published.rpartition("/")[2],
        "host": "",
        "data": None,
    }


def replaced_by(db: sqlite3.Connection, key: tuple[Any, ...], part: StagedRef) -> int:
    """The next iteration that was to put its part in the place of this one, which ``key`` has published, whatever has
    become of it since; 0 when there is none."""
    others = {name for name, _ in adopted.names(adopted.load(db.execute), part.at)} - {key[0]}
    pipelines = [key[0], *sorted(others)]  # in a target that has passed on numbers go on, whoever's they are
    later = db.execute(
        "SELECT iteration, sinks, abandoned FROM iterations WHERE iteration > ? AND sinks IS NOT NULL"
        f" AND pipeline IN ({', '.join('?' * len(pipelines))}) ORDER BY iteration",
        (key[1], *pipelines),
    )
    for number, sinks, abandoned in later:
        given_up = json.loads(abandoned)
        parts = unseal(sinks, SinksDecoder, f"the sinks of iteration {number}")
        if any(one.at == part.at and node not in given_up for node, one in parts.items()):
            return int(number)
    return 0
