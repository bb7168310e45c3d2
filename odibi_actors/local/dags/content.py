"""What data and code are, by their content: digests that tell whether something is as it was."""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from odibi_actors.batches.files import digest_bytes, digest_file
from odibi_actors.core.files import SUFFIXES
from odibi_actors.core.steps import Step
from odibi_actors.local.checkpoints import outputs

_PROCESS: Final = os.urandom(16).hex()
_numbers = itertools.count()
_WHOLE: Final = frozenset(SUFFIXES.values()) - {"sqlite"}
"""Formats of which the bytes of one file are all there is; a database may have a log beside it."""


def digest(value: Any) -> str:
    """Of a frame, a table or what JSON has; for anything else one that never comes again."""
    return outputs.digest_of(value) or unknown()


def unknown() -> str:
    """A digest that never comes again, in this process or in another."""
    return digest_bytes(f"{_PROCESS} {os.getpid()} {time.time_ns()} {next(_numbers)}".encode())


def together(digests: Mapping[str, str]) -> str:
    """Of the outputs of one node; "" for none."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    return digest_bytes(repr(sorted(digests.items())).encode()) if digests else ""


def of_code(step: Step) -> str:
    """Of the function of a step: its source; of an ingest step: the bytes of its file; "" where neither is known."""
    if step.type != "function":
        return of_file(step) if step.reads else ""
    module, _, name = step.value.rpartition(".")
    try:
        return digest_bytes(inspect.getsource(getattr(importlib.import_module(module), name)).encode())
    except Exception:  # noqa: BLE001 - importing is running somebody's code; the step itself will tell of it
        return ""


def of_file(step: Step) -> str:
    """Of the bytes of the file that an ingest step reads; "" where it is not known."""
    kind = step.params.get("source_type") or SUFFIXES.get(Path(step.value).suffix.lower())
    try:
        return digest_file(Path(os.path.realpath(step.value)))[0] if kind in _WHOLE else ""
    except OSError:
        return ""
