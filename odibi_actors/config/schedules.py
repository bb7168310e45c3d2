"""What one value alone does not show about schedules and alerts: which keys go together, zones, folders, files.

Like ``checks.py`` it works on checked mappings, and resolves in place what the specs need: instants, folders, the
effective ``overlap``.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from odibi_actors.config import moments, tree
from odibi_actors.config.model import CatchUpSpec, ConnectionSpec, ScheduleSpec, WatchSpec
from odibi_actors.config.patterns import pattern_leads_out
from odibi_actors.config.places import leads_out, lies_in, unsound_command
from odibi_actors.config.problems import Problems, did_you_mean
from odibi_actors.config.received import MAX_JITTER, MAX_PARAMS
from odibi_actors.config.schedule_keys import SCHEDULE
from odibi_actors.errors import ConfigError
from odibi_actors.kinds.registry import connection_of
from odibi_actors.scheduler.timetable import occurrences
from odibi_actors.units import format_duration

Section = dict[str, Any]
TRIES = 1000
"""Occurrences on excluded dates that are looked at before a schedule is believed to come some day."""
_FOLLOWS = {"after": "after follows commits, not the clock", "file_watch": "file_watch follows files, not the clock"}
_TIMED = ("jitter", "catch_up", "start", "end", "exclude", "timezone", "dst")
_ZONED = ("start", "end", "exclude")


class ScheduleChecker:
    """Checks schedules and alerts of one project; ``root`` and ``data_dir`` are absolute, ``pipelines`` its names."""

    def __init__(
        self,
        root: Path,
        data_dir: str,
        connections: Mapping[str, ConnectionSpec],
        pipelines: list[str],
        problems: Problems,
    ) -> None:
        self._root = root
        self._data_dir = data_dir
        self._connections = connections
        self._pipelines = pipelines
        self._problems = problems

    def schedule(self, at: str, section: Section, pipeline: str) -> list[str]:
        """Checks and resolves a schedule of ``pipeline``; returns the pipelines it comes after."""
        kind = next((key for key in SCHEDULE.one_of if self._written(at, key)), "")
        self._applies(at, section, kind)
        section.setdefault("overlap", _overlap(kind, section))
        if len(msgspec.json.encode(section.get("params", {}))) > MAX_PARAMS:
            hint = "each run carries them: name a file instead"
            self._add(at, "params", f"longer than {MAX_PARAMS} bytes as JSON", suggestion=hint)
        if kind == "after":
            return self._after(at, section, pipeline)
        if kind == "file_watch" and kind in section:
            self._watch(_join(at, kind), section[kind])
        elif kind in ("cron", "every"):
            self._interval(at, section)
            self._span(at, section)
        return []

    def alert(self, at: str, section: Section) -> None:
        """Checks and resolves an alert."""
        if "command" in section:
            section["command"] = self._command(_join(at, "command"), section["command"])

    # --- the clock ------------------------------------------------------------------------------------------------

    def _applies(self, at: str, section: Section, kind: str) -> None:
        for key in _TIMED if kind in _FOLLOWS else ():
            if key in section:
                self._add(at, key, f"does not apply: {_FOLLOWS[kind]}", suggestion="delete it")
        if kind == "every" and "dst" in section:
            message = "does not apply: every counts seconds, whatever the clocks show"
            self._add(at, "dst", message, suggestion="delete it")
        if kind == "every" and "timezone" in section and not any(self._written(at, key) for key in _ZONED):
            message = "does not apply: without start, end and exclude nothing of it is read in a zone"
            self._add(at, "timezone", message, suggestion="delete it")

    def _interval(self, at: str, section: Section) -> None:
        every, jitter = section.get("every"), section.get("jitter")
        if every is not None and (every < 1 or every != int(every)):
            self._add(at, "every", "must be whole seconds, at least 1s", format_duration(every), "such as 5m")
        if jitter is not None and jitter > MAX_JITTER:
            self._add(at, "jitter", f"at most {format_duration(MAX_JITTER)}", format_duration(jitter))
        elif jitter is not None and every is not None and jitter >= every:
            message = f"must be shorter than every, which is {format_duration(every)}"
            self._add(at, "jitter", message, format_duration(jitter))

    def _span(self, at: str, section: Section) -> None:
        """``start`` and ``end`` become instants. Skipped where something they depend on is wrong by itself."""
        if "timezone" not in section and self._written(at, "timezone"):
            return
        home = moments.zone(section.get("timezone", "UTC"))
        written = {key: section[key] for key in ("start", "end") if key in section}
        for key, text in written.items():
            section[key] = moments.instant(text, home)
        start, end = section.get("start", 0.0), section.get("end", 0.0)
        if end and end <= start:
            self._add(at, "end", "must be later than start", written["end"], f"start is {written['start']}")
        elif start and self._sound(at) and _never(schedule_spec(section), home):
            message = "is never due from start on" + (", before end, outside exclude" if end else "")
            self._problems.add(at, message, suggestion="widen it, or delete the schedule")

    # --- pipelines and files --------------------------------------------------------------------------------------

    def _after(self, at: str, section: Section, pipeline: str) -> list[str]:
        followed = section.get("after")
        if followed is None:
            return []
        section["after"], section["after_any"] = followed.names, followed.any_of
        others = [name for name in self._pipelines if name != pipeline]
        known = []
        for name, place in zip(followed.names, followed.places, strict=True):
            if name == pipeline:
                self._problems.add(place, "a pipeline cannot come after itself", name, "name another, or use every")
            elif name not in others:
                self._problems.add(place, "unknown pipeline", name, did_you_mean(name, others, "other pipelines"))
            else:
                known.append(name)
        return known

    def _watch(self, at: str, section: Section) -> None:
        name = section.pop("connection", None)
        path = section.pop("path", None)
        folder, of = str(self._root), "the project's folder"
        if self._written(at, "connection"):
            connection = self._connections.get(name or "")
            of = "the connection's folder"
            if name is not None and connection is None:
                hint = did_you_mean(name, self._connections, "connections")
                self._add(at, "connection", "unknown connection", name, hint)
            elif connection is not None and not connection_of(connection.type).folder:
                message = f"files are watched in a local connection; {name} is {connection.type}"
                self._add(at, "connection", message, suggestion="or leave it out, and give a path of the project")
            folder = connection.path if connection is not None else folder
        elif not self._written(at, "path"):
            self._problems.add(at, 'the key "path" is missing', suggestion="path: data/landing, or a connection")
        if path is not None and leads_out(path):
            self._add(at, "path", f"leads out of {of}", path, "write a path below it, or name a connection")
        section["folder"] = os.path.normpath(os.path.join(folder, path or "."))
        place = "path" if path is not None else "connection"
        if lies_in(section["folder"], self._data_dir):
            self._add(at, place, "lies in data_dir, which belongs to the system", suggestion="choose another place")
        elif os.path.isfile(section["folder"]):
            self._add(at, place, "is a file; a folder is watched", path or "", "name the file in pattern")
        if pattern_leads_out(section.get("pattern", "")):
            self._add(at, "pattern", "leads out of the folder", section["pattern"], "such as *.csv")

    def _command(self, at: str, path: str) -> str:
        """``path`` made tidy; a problem unless it is a file of the project that can be run."""
        tidy = os.path.normpath(path)
        full, root = os.path.join(self._root, tidy), os.path.realpath(self._root)
        if problem := unsound_command(tidy):
            self._problems.add(at, problem, path, "name a file of the project, such as bin/alert.sh")
        elif not lies_in(os.path.realpath(full), root):
            self._problems.add(at, "leads out of the project's folder", path, "a link must stay in it, too")
        elif lies_in(os.path.realpath(full), os.path.realpath(self._data_dir)):
            self._problems.add(at, "lies in data_dir, which belongs to the system", path, "choose another place")
        elif not os.path.isfile(full):
            self._problems.add(at, *_no_file(full, path))
        elif not os.access(full, os.X_OK):
            self._problems.add(at, "is not executable", path, f"chmod +x {tidy}")
        return tidy

    def _written(self, at: str, key: str) -> bool:
        return self._problems.written(_join(at, key))

    def _sound(self, at: str) -> bool:
        """Nothing of this schedule is known to be wrong."""
        return not any(problem.path.startswith(at) for problem in self._problems.found)

    def _add(self, at: str, key: str, message: str, value: str = "", suggestion: str = "") -> None:
        self._problems.add(_join(at, key), message, value, suggestion)


def schedule_spec(section: Section) -> ScheduleSpec:
    """The spec of a mapping that was checked without a problem."""
    parts: Section = {}
    if "catch_up" in section:
        parts["catch_up"] = CatchUpSpec(**section["catch_up"])
    if "file_watch" in section:
        parts["file_watch"] = WatchSpec(**section["file_watch"])
    return ScheduleSpec(**(section | parts))


def read_schedule(
    values: Mapping[str, Any],
    root: Path,
    connections: Mapping[str, ConnectionSpec],
    pipelines: list[str],
    *,
    pipeline: str = "",
    data_dir: str = "",
) -> ScheduleSpec:
    """The spec of a schedule given as plain values, as they would stand in the file (``{"name": "hourly", "cron":
    "0 * * * *"}``; a number or a flag may be text, as on a command line).

    ``root`` and ``data_dir`` (default: ``.odibi`` in root) are absolute; ``pipelines``: the names of the project's;
    ``pipeline``: the one it is for. Raises ConfigError with all problems, without places in a file.
    """
    problems = Problems("")
    known = SCHEDULE.check(_tree(dict(values), "", problems, 1), "", problems)
    if isinstance(known, dict):
        folder = os.path.normpath(root / (data_dir or ".odibi"))
        ScheduleChecker(root, folder, connections, pipelines, problems).schedule("", known, pipeline)
    if problems.found:
        found = sorted(problems.found)
        raise ConfigError("\n".join(str(problem).removeprefix(_NOWHERE) for problem in found), tuple(found))
    return schedule_spec(known)


_NOWHERE = ":1:1: "
"""How a problem begins whose file has no name, and whose place is the file's beginning."""


def _tree(value: Any, path: str, problems: Problems, depth: int) -> tree.Tree:
    """A plain value as if it had been parsed."""
    if depth > tree.MAX_DEPTH:
        problems.add(path, f"nested deeper than {tree.MAX_DEPTH} levels")
    elif isinstance(value, dict):
        items = {}
        for key, inner in value.items():
            name = str(key)
            items[name] = (tree.Scalar(1, 1, name, name), _tree(inner, _join(path, name), problems, depth + 1))
        return tree.Mapping(1, 1, items)
    elif isinstance(value, (list, tuple)):
        return tree.Sequence(1, 1, [_tree(v, f"{path}[{n}]", problems, depth + 1) for n, v in enumerate(value)])
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        problems.add(path, "is no plain value", type(value).__name__, "text, a number, true, false, a list, a mapping")
    elif isinstance(value, str) and not value.isascii() and value != value.encode(errors="replace").decode():
        problems.add(path, "holds what is no character", ascii(value), "write it in UTF-8")
    else:
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        return tree.Scalar(1, 1, shown, value, variable=isinstance(value, str))
    return tree.Scalar(1, 1, "", "")


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _overlap(kind: str, section: Section) -> str:
    """What holds when nothing is said: what follows the clock comes again by itself, a commit or a file does not."""
    if kind == "file_watch":
        return "buffer_one" if section.get(kind, {}).get("per") == "set" else "buffer_all"
    return "buffer_one" if kind == "after" else "skip"


def _never(spec: ScheduleSpec, home: ZoneInfo) -> bool:
    """Nothing is due from ``start`` on; looked for only as far as that is cheap."""
    bare = msgspec.structs.replace(spec, exclude=[], end=0.0)
    for count, one in enumerate(occurrences(bare, spec.start - 1)):
        if spec.end and one.due >= spec.end:
            return True
        if count == TRIES or datetime.fromtimestamp(one.due, home).date().isoformat() not in spec.exclude:
            return False
    return True


def _no_file(full: str, path: str) -> tuple[str, str, str]:
    """(message, value, suggestion) for a command that is no file."""
    if os.path.isdir(full):
        return "is a folder", path, "name a file in it"
    words = path.split()
    if len(words) > 1 and os.path.isfile(os.path.join(full[: len(full) - len(os.path.normpath(path))], words[0])):
        return "is run without arguments", path, f"write a script that calls {words[0]}"
    folder, name = os.path.split(full)
    try:
        near = difflib.get_close_matches(name, sorted(os.listdir(folder)), n=1)
    except OSError:
        near = []
    hint = f'did you mean "{os.path.join(os.path.dirname(path), near[0])}"?' if near else "write it, and chmod +x it"
    return "there is no such file", path, hint
