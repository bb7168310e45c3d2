"""``odibictl checkpoint verify``: the store and the files it counts on, whether a system runs or not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from odibi_actors.checkpoint import seals, wal
from odibi_actors.checkpoint.forgetting import unfinished
from odibi_actors.checkpoint.resting import Resting
from odibi_actors.checkpoint.schema import FIX
from odibi_actors.config.doors import Doors
from odibi_actors.errors import StoreError
from odibi_actors.units import plural

if TYPE_CHECKING:
    from odibi_actors.nodes.sinks.joined import Joined

DATABASE = "checkpoints.db"
SEALS = DATABASE + seals.SUFFIX
SHOWN = 20
"""Damaged pages that are told one by one: the rest is of the same disk."""

Ask = Callable[[str], dict[str, Any]]


class Report(NamedTuple):
    """``problems``: what is wrong, and the fix of each. The numbers are what was looked at."""

    problems: list[dict[str, str]]
    pages: int = 0
    rows: int = 0
    files: int = 0


def running(ask: Ask, spool: Path, doors: Doors) -> Report:
    """Of a store that answers. What it counts on may go while we look, so a problem is one that is found twice."""
    report = _walk(ask, spool, doors)
    if report.problems:
        again = {problem["what"] for problem in _walk(ask, spool, doors).problems}
        report = report._replace(problems=[one for one in report.problems if one["what"] in again])
    return report


def stopped(data_dir: Path, root: Path) -> Report:
    """Of a store at rest, without writing anything. ``root``: the project's folder. Raises ConflictError when one
    runs."""
    try:
        store = Resting(data_dir, root)
    except StoreError as error:
        found = _pages(data_dir / DATABASE)
        if found:
            return Report(found)
        what = str(error).partition(f"; {FIX}")
        return Report([{"what": what[0] + what[2], "fix": FIX}])
    try:
        ask: Ask = lambda cursor: dict(store.answer("checkpoint.verify", {"cursor": cursor}))  # noqa: E731
        resets = [
            {"what": f"a reset of {name} was interrupted", "fix": f"`odibictl reset {name}`"}
            for name in unfinished(store.db)
        ]
        report = _walk(ask, data_dir / "spool", Doors(root))
        return report._replace(pages=store.pages, problems=[*resets, *report.problems])
    finally:
        store.close()


def _pages(path: Path) -> list[dict[str, str]]:
    """Every damaged page; an error of opening tells only the first. Other errors are left to the opening."""
    try:
        log = wal.read(path.with_name(path.name + "-wal"), verify=True)
        sealed = seals.Seals(path, writable=False)
    except (StoreError, OSError):
        return []
    try:
        pages = list(sealed.damaged(1, sealed.pages, log.pages))
    finally:
        sealed.close()
    found = [{"what": f"page {page} of {DATABASE} is not as it was written", "fix": FIX} for page in pages[:SHOWN]]
    if len(pages) > SHOWN:
        found.append({"what": f"and {plural(len(pages) - SHOWN, 'more page')}", "fix": FIX})
    return found


def _walk(ask: Ask, spool: Path, doors: Doors, *, files: bool = True) -> Report:
    """``files``: also what the store counts on is looked at."""
    report = Report([])
    cursor = ""
    before: dict[str, list[dict[str, str] | None]] = {}
    harmed: dict[tuple[Path, str], str] = {}
    while True:
        part = ask(cursor)
        found, part["files"] = [], part["files"] if files else []
        for file in part["files"]:
            problem = _file(file, spool, doors, harmed)
            if group := file.get("before"):
                before.setdefault(group, []).append(problem)
            elif problem is not None:
                found.append(problem)
        report = Report(
            report.problems + part["problems"] + found,
            report.pages + part["pages"],
            report.rows + part["rows"],
            report.files + len(part["files"]),
        )
        cursor = part["cursor"]
        if not cursor:
            return report._replace(problems=[*report.problems, *_remains(before)])


def _remains(before: dict[str, list[dict[str, str] | None]]) -> list[dict[str, str]]:
    """What is wrong with files from before a repin: it has begun a target that was gone for good where all are away."""
    return [one for files in before.values() if None in files for one in files if one is not None]


def _file(
    file: dict[str, Any], spool: Path, doors: Doors, harmed: dict[tuple[Path, str], str]
) -> dict[str, str] | None:
    """What is wrong with a file; one of another host is that host's. ``harmed``: what ``_joined`` has found."""
    from odibi_actors.batches.files import digest_file

    if file["host"] not in ("", socket.gethostname()):
        return None
    if "at" in file:
        from odibi_actors.kinds.registry import sink_of
        from odibi_actors.model import Target

        at = Target(*file["at"])
        sink, iteration, digest, owners = (file[name] for name in ("sink", "iteration", "digest", "owners"))
        wrong = sink_of(at.sink).missing(at, sink, iteration, digest, owners, doors.to(at))
        what = f"{file['what']}, in {at}, {wrong}"
        return {"what": what, "fix": file["fix"]} if wrong else None
    reason = "is missing"
    for name in file["paths"]:
        path = spool / name
        try:
            digest, size = digest_file(path)
        except (FileNotFoundError, NotADirectoryError):
            lost = _joined(path, harmed)
            if lost is None:
                continue
            return {"what": f"{file['what']}, {lost}", "fix": file["fix"]} if lost else None
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            continue
        if digest == file["digest"]:
            if lost := _named(path):
                return {"what": f"{file['what']}, {lost}", "fix": file["fix"]}
            return None
        reason = f"has {size} bytes, not {file['size']}" if size != file["size"] else "does not match its digest"
    return {"what": f"{file['what']}, file {spool / file['paths'][0]}, {reason}", "fix": file["fix"]}


def _named(path: Path) -> str:
    """What is wrong with the first file that a part names, which is wrong; "" for nothing, and for parts of one."""
    from odibi_actors.batches.files import digest_file
    from odibi_actors.nodes.sinks import manifest

    if not manifest.is_manifest(path.name):
        return ""
    try:
        for file, at in manifest.files(path):
            try:
                digest, size = digest_file(at)
            except (FileNotFoundError, NotADirectoryError):
                return f"file {at}, is missing"
            if digest != file.digest:
                reason = f"has {size} bytes, not {file.bytes}" if size != file.bytes else "does not match its digest"
                return f"file {at}, {reason}"
    except OSError as error:
        return f"of which a file cannot be read: {error}"
    return ""


def _joined(path: Path, harmed: dict[tuple[Path, str], str]) -> str | None:
    """What is wrong with the files that a part was joined into, which is not there; "" for nothing. None: it was not
    joined with others. ``harmed``: of each folder and node what was found, as many parts are joined into few files."""
    from odibi_actors.errors import ConflictError
    from odibi_actors.nodes.sinks import joined
    from odibi_actors.nodes.sinks.manifest import MANIFESTS, PART

    match = PART.fullmatch(path.name)
    folder = path.parent.parent if path.parent.name == MANIFESTS else path.parent
    if match is None:
        return None
    try:
        told = joined.load(folder, match["node"])
    except (ConflictError, OSError) as error:
        return f"of which it is not known whether it was joined with others: {error}"
    if told is None or not told.covers(path):
        return None
    place = (folder, match["node"])
    if place not in harmed:
        harmed[place] = _harmed(folder, told)
    return harmed[place]


def _harmed(folder: Path, told: Joined) -> str:
    """What is wrong with the first joined file that is not as it was written; "" for nothing."""
    from odibi_actors.batches.files import digest_file

    for file in told.files:
        try:
            digest, size = digest_file(folder / file.path)
        except OSError as error:
            return f"joined with others, file {folder / file.path}, cannot be read: {error.strerror}"
        if digest != file.digest:
            reason = f"has {size} bytes, not {file.bytes}" if size != file.bytes else "does not match its digest"
            return f"joined with others, file {folder / file.path}, {reason}"
    return ""
