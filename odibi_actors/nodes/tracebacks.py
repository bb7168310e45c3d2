"""What user code raised, as a durable failure: its own frames first, bounded."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from types import CodeType, TracebackType

from odibi_actors import version
from odibi_actors.model import FailureKind
from odibi_actors.nodes.failures import Failed, shorten
from odibi_actors.runtime import room

MAX_TRACEBACK = 64 * 1024
"""Characters of a traceback kept: a recursion error of wide frames would fill the log."""
_OURS = str(Path(version.__file__).parent) + os.sep


def user_failure(error: BaseException, kind: FailureKind = "raised") -> Failed:
    """A failure with the traceback beginning at the first frame outside of this package and the import machinery. That
    a disk has no room is not the fault of the code that writes there, nor of its rows."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames) and frames.tb_next is not None:
        frames = frames.tb_next
    place = ""
    if frames is not None and not _is_ours(frames):
        code, line = _innermost(frames)
        place = f" ({Path(code.co_filename).name} line {line}, in {code.co_name})"
    text = room.explained(error, f"{describe(error)}{place}")
    kind = "full" if room.lacking(error) else kind
    return Failed(kind, text, traceback=_bounded(_format(error, frames)))


def _innermost(frames: TracebackType) -> tuple[CodeType, int]:
    """Where the user's code was last: the deepest frame from the folder of the first, not inside a library it calls."""
    folder = str(Path(frames.tb_frame.f_code.co_filename).parent) + os.sep
    found = frames
    deeper: TracebackType | None = frames
    while deeper is not None:
        if deeper.tb_frame.f_code.co_filename.startswith(folder):
            found = deeper
        deeper = deeper.tb_next
    return found.tb_frame.f_code, found.tb_lineno


def describe(error: BaseException) -> str:
    """``Type: message`` of an exception, whatever its own ``__str__`` does."""
    name = type(error).__name__
    if isinstance(error, MemoryError):
        return f"{name}: out of memory; take less per iteration (batch.max_rows, max_bytes) or run fewer workers"
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - __str__ is user code too, and may exit or be interrupted as all of it
        text = "<its message cannot be shown>"
    return shorten(f"{name}: {text}" if text else name, 2048)


def _is_ours(frames: TracebackType) -> bool:
    file = frames.tb_frame.f_code.co_filename
    return file.startswith((_OURS, "<frozen importlib")) or "/importlib/" in file


def _format(error: BaseException, frames: TracebackType | None) -> str:
    try:
        return "".join(traceback.TracebackException(type(error), error, frames, compact=True).format())
    except BaseException:  # noqa: BLE001 - formatting calls __str__ and __repr__ of user objects
        return "".join(traceback.format_tb(frames)) + describe(error)


def _bounded(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= MAX_TRACEBACK:
        return text
    half = MAX_TRACEBACK // 2 - 50
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
