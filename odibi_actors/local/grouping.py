"""Which files of a folder are one source: names that differ in digits only, with one header. Used by ``draft``."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from odibi_actors.config.patterns import LINE, several
from odibi_actors.kinds.format import Request, lacks
from odibi_actors.kinds.registry import format_of
from odibi_actors.local.headers import ONE_BYTE, Header, difference, format_by_name, header_of, unknown, unpacked
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.formats.packed import unpack
from odibi_actors.nodes.sinks.current import CURRENT
from odibi_actors.runtime.visible import named
from odibi_actors.streaming.patterns import REPLACED, Pattern, temporary, utf8
from odibi_actors.units import naming

_MANY = 8
"""From so many differently named files of one folder with one header on, the folder is meant, not each name."""
_MAX_EXCLUDED = 8
"""Names, or patterns of them, that are left out of a folder which is meant as a whole."""
_LARGE = 8 << 20
"""Bytes of a file that is not read just to tell its columns."""
_DIGITS = re.compile(r"\d+(?:[-_.T:]?\d+)*")
_DATE = re.compile(r"\d{4}([-_.]?)\d\d\1\d\d.*", re.DOTALL)

_NEWEST = "what a sink of `mode: overwrite` holds: a source reads it each time again with `mode: batch` and"

_SQLITE, _DUCKDB = b"SQLite format 3\0", b"DUCK"
"""How these files begin; DuckDB's word stands behind a checksum of 8 bytes."""
_DATABASES = {"sqlite": "SQLite", "duckdb": "DuckDB"}


class Skipped(NamedTuple):
    """A file, or a pattern, that no pipeline takes."""

    name: str
    reason: str


class Group(msgspec.Struct):
    """Files that are one source. ``pattern`` and ``files`` are relative to the folder; ``looked``: how many of them
    were read to learn the types; ``columns``: (name, type) as inferred, ``untyped``: those whose types ``schema:`` has
    no name for; ``odd``: files that the pattern takes too, and that do not fit; ``optional``: columns that not all
    files have; ``why`` a column has its type; ``key``: one that no two rows share in what was read; ``growing``:
    somebody writes one of them; ``appendable``: they can be read line by line; ``notes``: what is to be looked at."""

    name: str
    pattern: str
    format: str
    files: list[str]
    odd: list[str] = []
    optional: list[str] = []
    options: dict[str, str | int | list[str]] = {}
    looked: int = 0
    columns: list[tuple[str, str]] = []
    untyped: list[str] = []
    why: dict[str, str] = {}
    key: str = ""
    growing: bool = False
    appendable: bool = False
    notes: list[str] = []


class _Kind(NamedTuple):
    """Files of one pattern and one header. ``odd``: those that the pattern takes as well, and that do not fit.
    ``note``: what is to be looked at."""

    pattern: str
    files: list[str]
    header: Header
    odd: list[str]
    note: str = ""
    optional: tuple[str, ...] = ()


def grouped(folder: Path, skipped: list[Skipped]) -> list[Group]:
    """The sources of a folder, each with a pattern that takes no file of another one. What belongs to none is added to
    ``skipped``."""
    files = list(_files(folder, skipped))
    groups = []
    for one in _packed_too(folder, _merged(folder, list(_kinds(folder, files, skipped))), files, skipped):
        notes = [one.note] if one.note else []
        mine = {*one.files, *one.odd}
        others = [name for name in files if name not in mine]
        some = [*_patterns(one.pattern, one.files), *_without(one.pattern, mine, others)]
        pattern = next((each for each in some if _takes(each, mine, others)), None)
        if pattern is None:
            other = next(filter(Pattern(one.pattern).matches, others))
            what = f"would take {named(other)} too, which is of another kind; rename them"
            skipped.append(Skipped(one.pattern, f"{what} (not read: {naming(sorted(one.files))})"))
            continue
        if pattern != one.pattern:
            other = next(filter(Pattern(one.pattern).matches, others))
            digits = "" if "*" in pattern or LINE in pattern else "; no name with more or fewer digits is taken"
            notes.append(f"does not take {other}, which is of another kind{digits}")
        format_name = format_by_name(Path(one.pattern).name) or "csv"
        name = _stem(one.pattern, one.files[0])
        groups.append(
            Group(name, pattern, format_name, one.files, one.odd, list(one.optional), one.header.options(), notes=notes)
        )
    return groups


def database(path: Path) -> str:
    """How a database file is read, which is no file of rows; "" for any other file."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
    except OSError:
        return ""
    kind = "sqlite" if head == _SQLITE else "duckdb" if head[8:12] == _DUCKDB else ""
    return kind and (
        f"a {_DATABASES[kind]} database: its tables are read with `mode: incremental`, `table` and `watermark_column`, "
        f"over a connection of `type: {kind}`"
    )


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
                newest = path.name == CURRENT and temporary(os.readlink(path)) == REPLACED
                reason = f"{_NEWEST} `path: {relative}`" if newest else "a symbolic link is not followed"
                skipped.append(Skipped(relative, reason))
            elif name in folders:
                if reason := temporary(name):
                    skipped.append(Skipped(f"{relative}/", reason))
            elif reason := temporary(relative):
                skipped.append(Skipped(relative, reason))
            elif name.startswith("_odibi"):
                skipped.append(Skipped(relative, "written by a sink"))
            elif not path.is_file():
                skipped.append(Skipped(relative, "not a regular file"))
            elif format_by_name(name) is None:
                skipped.append(Skipped(relative, database(path) or unknown(path)))
            else:
                yield relative
        folders[:] = [name for name in folders if not temporary(name) and utf8(name)]


def _kinds(folder: Path, files: list[str], skipped: list[Skipped]) -> Iterator[_Kind]:
    """By names that differ in digits only; each with the header that most of its files have."""
    by_pattern: dict[str, list[str]] = {}
    for name in files:
        by_pattern.setdefault(_DIGITS.sub("*", _literal(name)), []).append(name)
    for pattern, names in by_pattern.items():
        headers: dict[Header, list[str]] = {}
        odd: list[str] = []
        note = ""
        for name in names:
            try:
                header, why = header_of(folder / name)
                headers.setdefault(header, []).append(name)
                note = note or (f"{named(name)} {why}" if why else "")
            except (OSError, csv.Error, ValueError) as error:
                skipped.append(Skipped(name, str(error).split("\n", maxsplit=1)[0]))
                odd.append(name)
        _plain_too(folder, headers)
        optional = _united(headers)
        ranked = sorted(headers.items(), key=lambda item: -len(item[1]))
        if len(ranked) > 1 and 2 * len(ranked[0][1]) <= sum(len(some) for _, some in ranked):
            first, second = ranked[0][1][0], ranked[1][1][0]
            what = difference(ranked[0][0], ranked[1][0])
            skipped.append(
                Skipped(pattern, f"{named(first)} and {named(second)} differ: {what}; give each kind its own name")
            )
            continue
        for header, some in ranked[1:]:
            what = difference(ranked[0][0], header, optional.get(ranked[0][0], ()))
            skipped += [Skipped(name, f"unlike {named(ranked[0][1][0])}: {what}") for name in some]
            odd += some
        if ranked:
            header, some = ranked[0]
            told = header.bare or header.encoding == ONE_BYTE
            yield _Kind(pattern, some, header, odd, note if told else "", optional.get(header, ()))


def _plain_too(folder: Path, headers: dict[Header, list[str]]) -> None:
    """Files of nothing but ASCII are of any encoding that others of their kind have."""
    for header in [one for one in headers if one.encoding == ONE_BYTE]:
        twin = header._replace(encoding="")
        if twin in headers and all((folder / name).read_bytes().isascii() for name in headers[twin]):
            headers[header] += headers.pop(twin)


def _united(headers: dict[Header, list[str]]) -> dict[Header, tuple[str, ...]]:
    """Take headers together that are one kind: of two, one has all columns of the other, in whatever order, as columns
    are read by their names, and most are in both. Returns
    the columns that not all files of a header have; a file of each comes first, so that their types are found."""
    optional: dict[Header, tuple[str, ...]] = {}
    most = max(headers, key=lambda one: len(headers[one]), default=None)
    if most is None or most.bare or len(set(most.columns)) < len(most.columns):
        return optional
    whole, core, alike = list(most.columns), set(most.columns), [most]
    for other in headers:
        have, base = set(other.columns), set(most.columns)
        same = other._replace(columns=()) == most._replace(columns=())
        if other == most or not same or len(have) < len(other.columns) or not (have <= base or have >= base):
            continue
        union = [*whole, *(name for name in other.columns if name not in whole)]
        if 2 * len(core & have) > len(union):
            whole, core = union, core & have
            alike.append(other)
    if len(alike) > 1:
        files = [headers.pop(one) for one in alike]
        united = most._replace(columns=tuple(whole))
        headers[united] = [*(some[0] for some in files), *(name for some in files for name in some[1:])]
        optional[united] = tuple(name for name in whole if name not in core)
    return optional


def _stem(pattern: str, name: str) -> str:
    """What files are called, without digits and endings; their folder's name where each has another."""
    stem = _DIGITS.sub(" ", Path(name).name.split(".")[0]).strip(" -_")
    return stem if stem and not Path(pattern).name.startswith("*.") else Path(name).parent.name


def _merged(folder: Path, kinds: list[_Kind]) -> list[_Kind]:
    """Many single files of one folder with one header and one ending are one source."""
    alike: dict[tuple[str, str, Header, str], list[_Kind]] = {}
    for kind in kinds:
        parent, _, name = kind.pattern.rpartition("/")
        same = kind.pattern if kind.header.bare else ""  # a count of columns alone says little
        alike.setdefault((parent, name[name.find(".") :], kind.header, same), []).append(kind)
    found = []
    for (parent, ending, header, _), every in alike.items():
        for some in [every] if header.columns or len(every) < _MANY else _apart(folder, every):
            if len(some) < _MANY:
                found += some
                continue
            files = [name for one in some for name in one.files]
            odd = [name for one in some for name in one.odd]
            optional = tuple(dict.fromkeys(name for one in some for name in one.optional))
            pattern = f"{parent}/*{ending}" if parent else f"*{ending}"
            found.append(_Kind(pattern, files, header, odd, optional=optional))
    return sorted(found)


def _apart(folder: Path, kinds: list[_Kind]) -> list[list[_Kind]]:
    """Kinds whose columns only the reader can tell, those together that share more than half of them."""
    found: list[tuple[set[str], list[_Kind]]] = []
    for kind in kinds:
        names = _read_names(folder, kind.files[0])
        some = next((some for others, some in found if 2 * len(names & others) > len(names | others)), None)
        if some is None:
            found.append((names, [kind]))
        else:
            some.append(kind)
    return [some for _, some in found]


def _read_names(folder: Path, name: str) -> set[str]:
    """The columns of a file, as its reader tells them; none of one that cannot be read, or is too large to look at."""
    known = format_of(format_by_name(name) or "json")
    if lacks(known) or os.stat(folder / name).st_size > _LARGE:
        return set()
    try:
        data = (folder / name).read_bytes()
        data = unpack(data, name, "auto", limit=_LARGE) if known.packed else data
        return set(known.parse(Request(data, name, {}, {}, Wanted(), {}, first=True)).table.column_names)
    except (OSError, Malformed):
        return set()


def _packed_too(folder: Path, kinds: list[_Kind], files: list[str], skipped: list[Skipped]) -> list[_Kind]:
    """Files of one kind of which some are packed are one source. What is there both ways is taken once where a pattern
    can do that, and told of where none can."""
    alike: dict[tuple[str, Header], list[_Kind]] = {}
    for kind in kinds:
        alike.setdefault((unpacked(kind.pattern), kind.header), []).append(kind)
    found: list[_Kind] = []
    for (plain, header), every in alike.items():
        twins = {name for one in every for name in one.files if _twin(folder, name, files)}
        some = [one for one in every if not twins.issuperset(one.files)]
        again = [name for one in every for name in one.files if twins.issuperset(one.files)]
        skipped += [Skipped(name, f"{named(unpacked(name))} has the same content") for name in again]
        names = [name for one in some for name in one.files]
        odd = [name for one in some for name in one.odd]
        others = {*files, *(one.name for one in skipped)} - {*names, *odd}
        if len(some) == 1 or not _takes(f"{plain}*", {*names, *odd}, others):
            found += some
            continue
        notes = [one.note for one in some if one.note][:1]
        notes += [
            f"{named(name)} has the same rows as {named(unpacked(name))}: take one away"
            for name in names
            if name in twins
        ]
        optional = tuple(dict.fromkeys(name for one in some for name in one.optional))
        found.append(_Kind(f"{plain}*", names, header, odd, "; ".join(notes), optional))
    return sorted(found)


def _twin(folder: Path, name: str, files: list[str]) -> bool:
    """Whether a packed file is there unpacked as well."""
    plain = unpacked(name)
    if plain == name or plain not in files:
        return False
    try:
        data = (folder / plain).read_bytes()
        return unpack((folder / name).read_bytes(), name, "auto", limit=len(data)) == data
    except (OSError, Malformed):
        return False


# --- patterns ---------------------------------------------------------------------------------------------------------


def _literal(name: str) -> str:
    """The pattern of a name; a line end, which would begin another pattern, is any one character."""
    return re.sub(r"[\[?*]", r"[\g<0>]", name).replace(LINE, "?")


def _patterns(pattern: str, names: list[str]) -> Iterator[str]:
    """The pattern of these names, and narrower ones: those first that take the names to come as well."""
    yield pattern
    ends = {_DIGITS.sub("*[0-9]", _literal(name)) for name in names}
    each = {re.sub(r"\d", "?", _literal(name)) for name in names}
    exact = {re.sub(r"\d", "[0-9]", _literal(name)) for name in names}
    dates = all(_DATE.fullmatch(run) for name in names for run in _DIGITS.findall(name))
    for some in (each, exact, ends) if dates else (ends, each, exact):
        if len(some) == 1:
            yield next(iter(some))


def _without(pattern: str, mine: set[str], others: list[str]) -> Iterator[str]:
    """The pattern of all names of a folder, but for those of other kinds: by what they are called, or one by one."""
    if not Path(pattern).name.startswith("*."):
        return
    there = list(filter(Pattern(pattern).matches, others))
    kinds = {name: _DIGITS.sub("*", _literal(name)) for name in there}
    left_out = sorted(
        {_literal(name) if any(map(Pattern(kind).matches, mine)) else kind for name, kind in kinds.items()}
    )
    if 0 < len(left_out) <= _MAX_EXCLUDED:
        yield several([pattern], left_out)


def _takes(pattern: str, mine: set[str], others: Iterable[str]) -> bool:
    """Whether a pattern takes all of these files and none of the others."""
    matches = Pattern(pattern).matches
    return all(map(matches, mine)) and not any(map(matches, others))
