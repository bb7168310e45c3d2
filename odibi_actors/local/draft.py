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

from odibi_actors.config.keys import write_schema
from odibi_actors.config.load import PROJECT_FILE, load_project
from odibi_actors.config.model import ConnectionSpec, ReadSpec
from odibi_actors.errors import ConflictError, NodeError, NotFoundError
from odibi_actors.model import FilePosition
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.read import read
from odibi_actors.nodes.schemas import parse_type
from odibi_actors.streaming.patterns import Pattern, temporary, utf8

FORMATS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".lz4", ".br")
MAX_LOOKED = 256_000_000
"""Bytes of a group of files that are read to learn its types."""
MAX_GROUPS = 50
"""Pipelines of one draft: more of them are no longer a draft that somebody reads."""
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
    no name for."""

    name: str
    pattern: str
    format: str
    files: list[str]
    options: dict[str, str] = {}
    looked: int = 0
    columns: list[tuple[str, str]] = []
    untyped: list[str] = []


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
    known = [name for group in groups for name in group.files]
    sound: list[Group] = []
    for group in groups:
        pattern = Pattern(group.pattern)
        others = [name for name in known if name not in group.files and pattern.matches(name)]
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


def _group(folder: Path, files: list[str], skipped: list[Skipped]) -> list[Group]:
    """By names that differ in digits only; each with one header."""
    by_pattern: dict[str, list[str]] = {}
    for name in files:
        by_pattern.setdefault(_DIGITS.sub("*", re.sub(r"[\[?*]", r"[\g<0>]", name)), []).append(name)
    groups: list[tuple[str, list[str], str]] = []
    for pattern, names in by_pattern.items():
        headers: dict[str, list[str]] = {}
        for name in names:
            try:
                headers.setdefault(_header(folder / name), []).append(name)
            except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
                skipped.append(Skipped(name, f"its columns cannot be read: {_short(error)}"))
        if len(headers) > 1:
            (one, first), (other, second) = list(headers.items())[:2]
            differ = sorted({*json.loads(one)["columns"]} ^ {*json.loads(other)["columns"]})
            what = f"column {differ[0]!r} is in one only" if differ else "their columns come in another order, or twice"
            skipped.append(Skipped(pattern, f"{first[0]} and {second[0]} differ: {what}; give each kind its own name"))
        elif headers:
            groups.append((pattern, names, next(iter(headers))))
    return [
        Group(_stem(pattern, names[0]), pattern, _kind(Path(pattern).name) or "csv", names, _options(header))
        for pattern, names, header in _merged(groups)
    ]


def _stem(pattern: str, name: str) -> str:
    """What files are called, without digits and endings; their folder's name where each has another."""
    stem = _DIGITS.sub(" ", Path(name).name.split(".")[0]).strip(" -_")
    return stem if stem and not Path(pattern).name.startswith("*.") else Path(name).parent.name


def _merged(groups: list[tuple[str, list[str], str]]) -> list[tuple[str, list[str], str]]:
    """Many single files of one folder with one header and one ending are one source."""
    alike: dict[tuple[str, str, str], list[tuple[str, list[str], str]]] = {}
    for group in groups:
        parent, _, name = group[0].rpartition("/")
        alike.setdefault((parent, name[name.find(".") :], group[2]), []).append(group)
    found = []
    for (parent, ending, header), some in alike.items():
        if len(some) < _MANY:
            found += some
        else:
            found.append((f"{parent}/*{ending}" if parent else f"*{ending}",
                          [name for one in some for name in one[1]], header))  # fmt: skip
    return sorted(found)


def _header(path: Path) -> str:
    """The columns of a file, and what separates them, as JSON; "" when only the reader can tell."""
    if path.suffix.lower() in COMPRESSED:
        return json.dumps({"columns": []})
    if _kind(path.name) == "parquet":
        return json.dumps({"columns": pq.read_schema(path).names})
    with open(path, encoding="utf-8-sig", newline="") as file:
        line = file.readline(1 << 20)
    delimiter = max(",;\t|", key=line.count) if not line.count(",") else ","
    return json.dumps({"columns": next(csv.reader([line], delimiter=delimiter), []), "delimiter": delimiter})


def _options(header: str) -> dict[str, str]:
    delimiter = json.loads(header).get("delimiter", ",")
    return {} if delimiter == "," else {"delimiter": delimiter}


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
    group.looked = len(positions)
    if not positions:
        return True  # too large to look at: its first batch will tell
    try:
        table = read(spec, positions, b"").table
    except (Failed, NodeError, OSError) as error:
        skipped.append(Skipped(group.pattern, _short(error)))
        return False
    for field in table.schema:
        text = str(field.type).replace("date32[day]", "date32").replace("date64[ms]", "date64")
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
    return name if re.match(r"[a-z]", name) else f"files_{name}".rstrip("_")


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
    yield from (
        f"  - pipeline: {group.name}",
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
        yield f"          schema:  # as found in {group.looked} of {len(group.files)} files; correct what is wrong"
        yield from (f"            {_quoted(name)}: {kind if '[' not in kind else _quoted(kind)}"
                    for name, kind in group.columns)  # fmt: skip
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
