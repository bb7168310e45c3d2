"""From an error to what the user sees: one line on stderr and the exit code of the design.

0 done, 1 error, 2 usage or invalid config, 3 not found, 4 conflict, 5 the run failed, 6 partial reply,
69 unreachable, 124 timed out, 130 interrupted.
"""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click

from odibi_actors.errors import ConfigError, OdibiError
from odibi_actors.runtime import enduring, room
from odibi_actors.runtime.linux import cast_away
from odibi_actors.runtime.visible import visible

INTERRUPTED = 130
NOWHERE = (
    "the current folder was removed; go to one that is there (`cd .`, if it was made again under its name), or name "
    "the project by its whole path: --project DIR"
)


def message(text: str, *, style: str | None = None) -> None:
    """Say something to the person: always on stderr, so that stdout holds results only."""
    text = visible(text)
    if style and not os.environ.get("NO_COLOR"):
        text = click.style(text, fg=style)
    click.echo(text, err=True)


def guard(call: Callable[[], object]) -> int:
    """Run ``call`` and return its exit code, having told the user what went wrong, if anything did."""
    try:
        result = call()
    except OdibiError as error:
        problems = len(error.problems) if isinstance(error, ConfigError) else 0
        message(f"{error}\nerror: {problems} problems" if problems > 1 else f"error: {error}", style="red")
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        message("interrupted")
        return INTERRUPTED
    except UnicodeEncodeError as error:
        message(f"error: {_unsent(error)}", style="red")
        return ConfigError.exit_code
    except OverflowError as error:
        message(f"error: a number is too large ({error})", style="red")
        return ConfigError.exit_code
    except PermissionError as error:
        message(f"error: {refused(error)}", style="red")
        return 1
    except OSError as error:
        if isinstance(error, FileNotFoundError) and cast_away():
            message(f"error: {NOWHERE}", style="red")
            return ConfigError.exit_code
        message(f"error: {room.explained(error, str(error))}", style="red")
        return 1
    return result if isinstance(result, int) else 0


def _unsent(error: UnicodeEncodeError) -> str:
    """Why a text cannot be sent. In a locale that is not UTF-8 a name with an umlaut is no text."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        return f"{error.object!r} is not UTF-8 and cannot be sent"
    return (
        f"{error.object!a} cannot be sent: the encoding of names is {encoding} by the locale (LC_ALL, LANG) and "
        "PYTHONUTF8; set LC_ALL=C.UTF-8, or PYTHONUTF8=1"
    )


def shown(code: int) -> int:
    """The exit code for ``code``: the same, unless all went well but its result could not be written."""
    reason = enduring.lost()
    if reason is None:
        return code
    message(f"error: stdout: {reason.strerror}: not all of the result could be written", style="red")
    return code or 1


def refused(error: PermissionError) -> str:
    """What was refused, who owns it, who we are, and what to do."""
    if not isinstance(error.filename, str):
        return str(error)
    path = Path(error.filename)
    while not _seen(path) and path != path.parent:
        path = path.parent
    try:
        owner, mode = path.stat().st_uid, path.stat().st_mode & 0o777
    except OSError:
        return str(error)
    if owner == os.geteuid():
        todo = f"it is yours, with mode {mode:o}; `chmod u+rwX {shlex.quote(str(path))}`"
    else:
        todo = f"{path} is {_name(owner)}'s (mode {mode:o}), and you are {_name(os.geteuid())}; run this as its owner"
    return f"{error.filename}: {(error.strerror or 'not allowed').lower()}: {todo}"


def _seen(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
