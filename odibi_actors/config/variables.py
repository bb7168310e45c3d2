"""``${VAR}`` and ``${VAR:-default}`` in the project file, and the ``.env`` file they may come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from odibi_actors.config.problems import Problems

MAX_ENV_FILE = 64 * 1024
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.ASCII)
_VARIABLE = re.compile(r"\$(?:\$(?=\{)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})", re.ASCII)


def read_env_file(path: Path, problems: Problems) -> dict[str, str]:
    """``KEY=VALUE`` lines; ``#`` comments, blank lines, ``export`` and one pair of quotes are understood. A missing
    file is empty."""
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_ENV_FILE + 1)
        text = data.decode() if len(data) <= MAX_ENV_FILE else None
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.add_at(1, 1, "", f"cannot be read: {error}", file=path.name)
        return {}
    if text is None:
        problems.add_at(1, 1, "", f"larger than {MAX_ENV_FILE} bytes", file=path.name)
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:  # the line is not shown: it may be half a secret
            problems.add_at(number, 1, "", "not a KEY=VALUE line", file=path.name)
            continue
        found[match[1]] = _unquote(match[2])
    return found


def expand(text: str, env: Mapping[str, str]) -> tuple[str, list[str]]:
    """``text`` with its variables replaced (once: a value is never expanded itself; ``$${`` stands for ``${``), and
    the names of those that are neither set nor have a default. As in a shell, ``:-`` also replaces an empty value."""
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if name is None:
            return "$"
        value = env.get(name)
        if value is None and default is None:
            missing.append(name)
            return match[0]
        return default if default is not None and not value else value or ""

    return _VARIABLE.sub(replace, text), missing


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return re.sub(r"\s+#.*$", "", value)
