"""The lines ``odibictl up`` runs: those of the project's ``Procfile``, else one per actor."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from odibi_actors.errors import ConfigError

MODULES = {
    "broker": "odibi_actors.broker",
    "checkpoint": "odibi_actors.checkpoint",
    "scheduler": "odibi_actors.scheduler",
    "source": "odibi_actors.streaming",
    "worker": "odibi_actors.workers",
}
"""Actor -> the package whose ``__main__`` runs it."""
FORMER = {"broker": "python -m broker", "worker": "python -m workers"} | {
    name: f"python -m {MODULES[name]}" for name in ("checkpoint", "scheduler", "source")
}
"""What a Procfile said for them before 0.2; some still do."""
PROCFILE = "".join(f"{name}: odibictl actor {name}\n" for name in MODULES)

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
_SHELL = re.compile(r"[^\w\s./:@,+=-]|(^|\s)\w+=")
"""What only a shell understands."""
_ACTOR = re.compile(rf"\b(?:odibictl\s+actor\s+({'|'.join(MODULES)})|-m\s+(broker|workers|odibi_actors\.\w+))(?=\s|$)")
_NAMES = {module: name for name, module in MODULES.items()} | {"broker": "broker", "workers": "worker"}


class Line(NamedTuple):
    """One line. ``actor``: the actor it runs, "" for one of the user's own; ``argv`` runs it."""

    name: str
    actor: str
    argv: tuple[str, ...]


def read(path: Path) -> tuple[list[Line], list[str]]:
    """The lines of a Procfile, and what a person should know about them. Without a file: one line per actor.

    Raises ConfigError naming the line that is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return parse(PROCFILE, path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> tuple[list[Line], list[str]]:
    """See ``read``."""
    lines: dict[str, Line] = {}
    former: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        stripped = raw.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise ConfigError(f"{path}:{number}: {stripped!r} is no line of a Procfile; write NAME: COMMAND")
        name, command = match[1], match[2]
        if name in lines:
            raise ConfigError(f"{path}:{number}: there are two lines {name!r}; give them different names")
        for actor, words in FORMER.items():
            if command == words or command.startswith(f"{words} "):
                command = f"odibictl actor {actor}{command.removeprefix(words)}"
                former.append(name)
        lines[name] = _line(name, command)
    if not lines:
        raise ConfigError(f"{path} has no lines; write one per actor, or remove it:\n{PROCFILE.rstrip()}")
    notes = []
    if former:
        word = lines[former[0]].actor
        notes.append(
            f"{path.name}: `{FORMER[word]}` is taken for `odibictl actor {word}`, and so on; change the lines "
            f"{', '.join(former)}"
        )
    missing = [name for name in MODULES if name not in {line.actor for line in lines.values()}]
    if missing:
        wanted = ", ".join(f"`{name}: odibictl actor {name}`" for name in missing)
        notes.append(f"{path.name}: no line runs {', '.join(missing)}, so nothing will work unless it runs elsewhere; "
                     f"add {wanted}")  # fmt: skip
    return list(lines.values()), notes


def _line(name: str, command: str) -> Line:
    if _SHELL.search(command) is None:
        words = shlex.split(command)
        words = words[1:] if words[0] == "exec" else words
        if len(words) > 2 and words[:2] == ["odibictl", "actor"] and words[2] in MODULES:
            return _own(name, words[2], words[3:])
        if len(words) > 2 and re.fullmatch(r"python3?", words[0]) and words[1] == "-m" and words[2] in _NAMES:
            return _own(name, _NAMES[words[2]], words[3:])
    found = _ACTOR.search(command)
    actor = (found[1] or _NAMES.get(found[2], "")) if found else ""
    if not actor and name in MODULES:  # a script of the user's that ends in one
        actor = name
    shell = ("/bin/sh", "-c", command)
    if actor:
        return Line(name, actor, shell)
    return Line(name, "", (sys.executable, "-P", "-m", "odibi_actors.runtime.extra", name, command))


def _own(name: str, actor: str, words: Iterable[str]) -> Line:
    # without a shell, and without the current folder on the import path
    return Line(name, actor, (sys.executable, "-P", "-m", MODULES[actor], *words))
