"""The ``odibi.yaml`` that a draft is, with what is to be looked at in its comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from odibi_actors.config.patterns import lines
from odibi_actors.config.remedies import listed
from odibi_actors.local.grouping import Group
from odibi_actors.runtime.visible import in_line, named
from odibi_actors.units import plural


def name_of(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:48]
    plain = re.match(r"[a-z]", name) and _quoted(name) == name  # `null` would be nothing
    return name if plain else f"files_{name}".rstrip("_")


def project_file(name: str, place: str, groups: list[Group]) -> str:
    lines = [
        "# yaml-language-server: $schema=.odibi/odibi.schema.json",
        "# A draft: each kind of file becomes a folder of parquet. Add transforms between source and sink.",
        f"project: {name}",
        "connections:",
        f"  files: {{type: local, path: {_quoted(place)}}}",
        "  lake:  {type: local, path: data/lake}",
        "  # mart: {type: sqlite, path: data/mart.db}",
        "pipelines:",
    ]
    for group in groups:
        lines += _pipeline(group)
    return "\n".join(lines) + "\n"


def _pipeline(group: Group) -> Iterator[str]:
    yield f"  - pipeline: {group.name}"
    if group.odd:
        yield "    # so that what does not fit is set aside, and the rest goes on: `odibictl deadletter list`"
        yield from (f"    #   {named(name)}" for name in sorted(group.odd))
        yield "    on_error: dead_letter"
    yield from (f"    # {in_line(note)}" for note in group.notes)
    yield from (
        "    nodes:",
        f"      - name: {group.name}",
        "        read:",
        "          connection: files",
        f"          format: {group.format}",
        f"          mode: {'incremental' if group.growing else 'file_watch'}",
    )
    if not group.growing and len(group.files) == 1 and not set("*?[") & set(group.pattern):
        if group.key:
            yield "          # one file, without a number in its name: reference data? `mode: batch` reads it each time"
        if group.appendable:
            yield "          # a file that is appended to? `mode: incremental` reads what is new in it"
    (pattern,), excluded = lines(group.pattern)
    yield f"          pattern: {_quoted(pattern)}"
    if excluded:
        yield f"          exclude: [{', '.join(_quoted(one.removeprefix('**/')) for one in excluded)}]"
    if group.options:
        yield f"          options: {json.dumps(group.options)}"
    if group.columns:
        files = plural(len(group.files), "file")
        yield f"          schema:  # as found in {group.looked} of {files}; correct what is wrong"
        for name, kind in group.columns:
            why = f"  # {in_line(group.why[name])}" if group.why.get(name) else ""
            yield f"            {_quoted(name)}: {_quoted(kind) if '[' in kind or '<' in kind else kind}{why}"
    if group.optional:
        yield f"          {listed('optional', *group.optional)}  # not in all files; null there"
    if group.untyped:
        yield f"          # types as the files have them: {in_line(', '.join(group.untyped))}"
    key = _quoted(group.key) if group.key else "COLUMNS"
    yield from (
        f"      - name: lake_{group.name}"[:80],
        f"        inputs: [{group.name}]",
        f"        write: {{connection: lake, path: {group.name}, format: parquet}}",
        "      # a table in which a row replaces the one with the same keys:",
        f"      # - name: mart_{group.name}",
        f"      #   inputs: [{group.name}]",
        f"      #   write: {{connection: mart, table: {group.name}, mode: upsert, keys: [{key}]}}",
    )
    if group.key:
        yield "      #   (keys: a guess, as no two rows that were read share it; of several columns the likeliest name)"
    else:
        yield "      #   (COLUMNS: those that identify a row; no single one does in what was read)"


def _quoted(text: str) -> str:
    """As a YAML scalar: plain where it cannot be taken for anything else. ``$`` would begin a variable."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and text.lower() not in ("null", "true", "false", "y", "n")
    return text if plain else json.dumps(text.replace("${", "$${"), ensure_ascii=False)
