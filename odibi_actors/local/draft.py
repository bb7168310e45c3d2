"""``odibictl init DIR --from FOLDER``: a project for the files there are. They are read, never moved or changed."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from odibi_actors.config.arrow_types import type_name
from odibi_actors.config.keys import write_schema
from odibi_actors.config.load import PROJECT_FILE, load_project
from odibi_actors.config.model import ConnectionSpec, ReadSpec
from odibi_actors.errors import ConflictError, NodeError, NotFoundError
from odibi_actors.model import FilePosition
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats.packed import marked_encoding, what_it_is
from odibi_actors.nodes.read import read
from odibi_actors.nodes.schemas import parse_type
from odibi_actors.runtime.visible import visible
from odibi_actors.streaming.patterns import Pattern, temporary, utf8
from odibi_actors.units import plural

FORMATS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".lz4", ".br")
MAX_LOOKED = 256_000_000
"""Bytes of a group of files that are read to learn its types."""
MAX_GROUPS = 50
"""Pipelines of one draft: more of them are no longer a draft that somebody reads."""
MAX_ODD = 20
"""Files of a group that are left out one by one: where there are more, it is the group that cannot be read."""
_MANY = 8
"""From so many differently named files of one folder with one header on, the folder is meant, not each name."""
_DIGITS = re.compile(r"\d+(?:[-_.T:]?\d+)*")


class Skipped(NamedTuple):
    """A file, or a pattern, that no pipeline takes."""

    name: str
    reason: str


class Group(msgspec.Struct):
    """Files that are one source. ``pattern`` and ``files`` are relative to the folder; ``looked``: how many of them
    were read to learn the types; ``columns``: (name, type) as inferred, ``untyped``: those whose types ``schema:`` has
    no name for; ``odd``: files that the pattern takes too, and that do not fit; ``why`` a column has its type."""

    name: str
    pattern: str
    format: str
    files: list[str]
    odd: list[str] = []
    options: dict[str, str] = {}
    looked: int = 0
    columns: list[tuple[str, str]] = []
    untyped: list[str] = []
    why: dict[str, str] = {}


class Draft(NamedTuple):
    """What was made of a folder."""

    groups: list[Group]
    skipped: list[Skipped]


def init_from(directory: Path, folder: Path) -> Draft:
    """Write a project for the files of ``folder`` into ``directory``. Raises NotFoundError when there is nothing to
    read, ConflictError when the directory is not empty, OSError."""
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder")
    source, target = folder.resolve(), directory.resolve()
    found = sorted(os.listdir(target)) if target.is_dir() else []
    if target.exists() and not target.is_dir():
        raise ConflictError(f"{directory} is a file; name a directory")
    if target == source:
        raise ConflictError(f"{directory} is the folder of the files itself; name a new directory for the project")
    if [name for name in found if not source.is_relative_to(target / name)]:
        raise ConflictError(f"{directory} is not empty (it has {found[0]}); name a new directory")
    draft = look(source)
    if not draft.groups:
        reasons = "\n".join(f"{name}: {reason}" for name, reason in draft.skipped) or "it is empty"
        raise NotFoundError(f"{folder} holds no file that can be read\n{reasons}")
    place = source.relative_to(target).as_posix() if source.is_relative_to(target) else str(source)
    target.mkdir(parents=True, exist_ok=True)
    (target / PROJECT_FILE).write_text(
        _project(_named(target.name or "project"), place, draft.groups), encoding="utf-8"
    )
    (target / ".gitignore").write_text(".odibi/\n.env\n__pycache__/\ndata/lake/\ndata/mart.db*\n")
    write_schema(target / ".odibi")
    load_project(target, sql=True)
    return draft


def look(folder: Path) -> Draft:
    """The groups of files of a folder, with the types that their rows have."""
    skipped: list[Skipped] = []
    groups = _group(folder, list(_files(folder, skipped)), skipped)
    known = [name for group in groups for name in [*group.files, *group.odd]]
    sound: list[Group] = []
    for group in groups:
        pattern = Pattern(group.pattern)
        others = [name for name in known if name not in [*group.files, *group.odd] and pattern.matches(name)]
        if others:
            skipped.append(Skipped(group.pattern, f"would take {others[0]} too, which is of another kind; rename them"))
        elif len(sound) == MAX_GROUPS:
            skipped.append(Skipped(group.pattern, f"this is a draft of {MAX_GROUPS} pipelines at most"))
        elif _types(folder, group, skipped):
            sound.append(group)
    names: dict[str, None] = {}
    for group in sound:
        name = _named(group.name)
        numbered = (f"{name}_{number}" for number in range(2, MAX_GROUPS + 2))
        group.name = name if name not in names else next(one for one in numbered if one not in names)
        names[group.name] = None
    return Draft(sound, skipped)


def _files(folder: Path, skipped: list[Skipped]) -> Iterator[str]:
    """Paths of the files that can be a source's, relative to the folder."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in [*folders, *sorted(names)]:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if not utf8(relative):
                skipped.append(Skipped(ascii(relative), "its name is not UTF-8"))
            elif path.is_symlink():
                skipped.append(Skipped(relative, "a symbolic link is not followed"))
            elif name in folders:
                continue
            elif reason := temporary(relative):
                skipped.append(Skipped(relative, reason))
            elif name.startswith("_odibi"):
                skipped.append(Skipped(relative, "written by a sink"))
            elif not path.is_file():
                skipped.append(Skipped(relative, "not a regular file"))
            elif _kind(name) is None:
                skipped.append(Skipped(relative, f"neither csv nor parquet by its name ({', '.join(FORMATS)})"))
            else:
                yield relative
        folders[:] = [name for name in folders if not temporary(name) and utf8(name)]


def _kind(name: str) -> str | None:
    stem, ending = os.path.splitext(name.lower())
    return FORMATS.get(os.path.splitext(stem)[1] if ending in COMPRESSED else ending)


# --- groups -----------------------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """Files of one pattern and one header. ``odd``: those that the pattern takes as well, and that do not fit."""

    pattern: str
    files: list[str]
    header: str
    odd: list[str]


def _group(folder: Path, files: list[str], skipped: list[Skipped]) -> list[Group]:
    """By names that differ in digits only; each with the header that most of its files have."""
    by_pattern: dict[str, list[str]] = {}
    for name in files:
        by_pattern.setdefault(_DIGITS.sub("*", re.sub(r"[\[?*]", r"[\g<0>]", name)), []).append(name)
    kinds: list[_Kind] = []
    for pattern, names in by_pattern.items():
        headers: dict[str, list[str]] = {}
        odd: list[str] = []
        for name in names:
            try:
                headers.setdefault(_header(folder / name), []).append(name)
            except (OSError, csv.Error, ValueError) as error:
                skipped.append(Skipped(name, _short(error)))
                odd.append(name)
        ranked = sorted(headers.items(), key=lambda item: -len(item[1]))
        if len(ranked) > 1 and 2 * len(ranked[0][1]) <= sum(len(some) for _, some in ranked):
            first, second = ranked[0][1][0], ranked[1][1][0]
            what = _difference(*(header for header, _ in ranked[:2]))
            skipped.append(Skipped(pattern, f"{first} and {second} differ: {what}; give each kind its own name"))
            continue
        for header, some in ranked[1:]:
            skipped += [
                Skipped(name, f"unlike {ranked[0][1][0]}: {_difference(ranked[0][0], header)}") for name in some
            ]
            odd += some
        if ranked:
            kinds.append(_Kind(pattern, ranked[0][1], ranked[0][0], odd))
    return [
        Group(
            _stem(one.pattern, one.files[0]),
            one.pattern,
            _kind(Path(one.pattern).name) or "csv",
            one.files,
            one.odd,
            _options(one.header),
        )
        for one in _merged(kinds)
    ]


def _difference(one: str, other: str) -> str:
    """What tells two headers apart, the first of which is the one to have."""
    former, found = json.loads(one), json.loads(other)
    missing = [repr(name) for name in former["columns"] if name not in found["columns"]]
    new = [repr(name) for name in found["columns"] if name not in former["columns"]]
    if missing or new:
        said = [f"it has no column {', '.join(missing)}"] if missing else []
        return ", and ".join([*said, *([f"column {', '.join(new)} is new"] if new else [])])
    for key in ("delimiter", "encoding"):
        if former.get(key) != found.get(key):
            return f"its {key} is {found.get(key) or 'utf-8'!r}, not {former.get(key) or 'utf-8'!r}"
    return "its columns come in another order, or twice"


def _stem(pattern: str, name: str) -> str:
    """What files are called, without digits and endings; their folder's name where each has another."""
    stem = _DIGITS.sub(" ", Path(name).name.split(".")[0]).strip(" -_")
    return stem if stem and not Path(pattern).name.startswith("*.") else Path(name).parent.name


def _merged(kinds: list[_Kind]) -> list[_Kind]:
    """Many single files of one folder with one header and one ending are one source."""
    alike: dict[tuple[str, str, str], list[_Kind]] = {}
    for kind in kinds:
        parent, _, name = kind.pattern.rpartition("/")
        alike.setdefault((parent, name[name.find(".") :], kind.header), []).append(kind)
    found = []
    for (parent, ending, header), some in alike.items():
        if len(some) < _MANY:
            found += some
        else:
            files = [name for one in some for name in one.files]
            odd = [name for one in some for name in one.odd]
            found.append(_Kind(f"{parent}/*{ending}" if parent else f"*{ending}", files, header, odd))
    return sorted(found)


def _header(path: Path) -> str:
    """The columns of a file, what separates them and how it is encoded, as JSON; without columns when only the reader
    can tell. Raises ValueError that says what the file is instead."""
    if path.suffix.lower() in COMPRESSED:
        return json.dumps({"columns": []})
    if _kind(path.name) == "parquet":
        try:
            return json.dumps({"columns": pq.read_schema(path).names})
        except pa.ArrowException as error:
            raise ValueError(f"its columns cannot be read: {error}") from None
    with open(path, "rb") as raw:
        data = raw.read(4096)
    if not data:
        raise ValueError("the file is empty, not even a header")
    encoding = marked_encoding(data)
    if not encoding and (found := what_it_is(data)):
        raise ValueError(f"the file is {found[0]}; {found[1]}")
    with open(path, encoding=encoding or "utf-8-sig", newline="") as file:
        try:
            line = file.readline(1 << 20)
        except UnicodeDecodeError:
            raise ValueError(
                "the file is no UTF-8 text; options: {encoding: windows-1252} or another reads it"
            ) from None
    delimiter = max(",;\t|", key=line.count) if not line.count(",") else ","
    header = {"columns": next(csv.reader([line], delimiter=delimiter), []), "delimiter": delimiter}
    return json.dumps(header | ({"encoding": encoding} if encoding else {}))


def _options(header: str) -> dict[str, str]:
    found = json.loads(header)
    return {key: found[key] for key in ("delimiter", "encoding") if key in found and found[key] != ","}


# --- types ------------------------------------------------------------------------------------------------------------


def _types(folder: Path, group: Group, skipped: list[Skipped]) -> bool:
    """Read as many files as are few bytes, as one batch, and note its types. False: they cannot be read."""
    spec = ReadSpec(ConnectionSpec("files", "local", str(folder)), "csv" if group.format == "csv" else "parquet",
                    "batch", options=dict(group.options))  # fmt: skip
    positions: list[FilePosition] = []
    total = 0
    for name in group.files:
        seen = os.stat(folder / name)
        total += seen.st_size
        if total > MAX_LOOKED:
            break
        positions.append(FilePosition(name, seen.st_size, seen.st_mtime_ns, seen.st_ino))
    if not positions:
        return True  # too large to look at: its first batch will tell
    while True:
        try:
            found = read(spec, positions, b"")
            break
        except Failed as error:
            bad = error.failure.position
            rest = [position for position in positions if position.identity != bad]
            if len(rest) in (0, len(positions)) or len(group.odd) >= MAX_ODD:
                skipped.append(Skipped(group.pattern, _short(error)))
                return False
            skipped.append(Skipped(bad, _short(error).removeprefix(bad).lstrip(":, ")))
            group.odd.append(bad)
            group.files.remove(bad)
            positions = rest
        except (NodeError, OSError) as error:
            skipped.append(Skipped(group.pattern, _short(error)))
            return False
    group.looked = len(positions)
    table = found.table
    if not found.notes:
        return True  # headers alone: the first rows will tell
    group.why = dict(zip(table.column_names, (note.partition(": ")[2] for note in found.notes), strict=False))
    for field in table.schema:
        text = type_name(field.type)
        try:
            parse_type(text)
            group.columns.append((field.name, text))
        except ValueError:
            group.untyped.append(field.name)
    return True


def _short(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0]


# --- the project file -------------------------------------------------------------------------------------------------


def _named(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:48]
    plain = re.match(r"[a-z]", name) and _quoted(name) == name  # `null` would be nothing
    return name if plain else f"files_{name}".rstrip("_")


def _project(name: str, place: str, groups: list[Group]) -> str:
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
        yield from (f"    #   {visible(name, keep='')}" for name in sorted(group.odd))
        yield "    on_error: dead_letter"
    yield from (
        "    nodes:",
        f"      - name: {group.name}",
        "        read:",
        "          connection: files",
        f"          format: {group.format}",
        "          mode: file_watch",
        f"          pattern: {_quoted(group.pattern)}",
    )
    if group.options:
        yield f"          options: {json.dumps(group.options)}"
    if group.columns:
        files = plural(len(group.files), "file")
        yield f"          schema:  # as found in {group.looked} of {files}; correct what is wrong"
        for name, kind in group.columns:
            why = f"  # {visible(group.why[name], keep='')}" if group.why.get(name) else ""
            yield f"            {_quoted(name)}: {kind if '[' not in kind else _quoted(kind)}{why}"
    if group.untyped:
        yield f"          # types as the files have them: {', '.join(group.untyped)}"
    first = group.columns[0][0] if group.columns else "id"
    yield from (
        f"      - name: lake_{group.name}"[:80],
        f"        inputs: [{group.name}]",
        f"        write: {{connection: lake, path: {group.name}, format: parquet}}",
        "      # a table in which a row replaces the one with the same keys:",
        f"      # - name: mart_{group.name}",
        f"      #   inputs: [{group.name}]",
        f"      #   write: {{connection: mart, table: {group.name}, mode: upsert, keys: [{_quoted(first)}]}}",
    )


def _quoted(text: str) -> str:
    """As a YAML scalar: plain where it cannot be taken for anything else. ``$`` would begin a variable."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and text.lower() not in ("null", "true", "false", "y", "n")
    return text if plain else json.dumps(text.replace("${", "$${"), ensure_ascii=False)
