"""What a manager was asked for last, for code that says the name of its DAG nowhere else.

odibi_core's example asks ``load_latest("my_dag")`` and then makes an executor that is told neither name nor manager:
the first one that is made in this thread after that takes both.
"""

from __future__ import annotations

import re
import threading
import weakref
from typing import Any, Final

NUMBERED: Final = re.compile(r"dag_\d+")
"""Names under which executors without a name keep their checkpoints."""
_local = threading.local()


def note(manager: object, dag_name: str) -> None:
    """``load_latest`` was called in this thread."""
    _local.asked = (weakref.ref(manager), dag_name)


def take(wanted: object | None) -> tuple[Any, str] | None:
    """The ``CheckpointManager`` and the name of the last question of this thread, once; only of ``wanted``, unless that
    is None."""
    reference, name = getattr(_local, "asked", (None, ""))
    manager = reference() if reference is not None else None
    if manager is None or wanted not in (None, manager):
        return None
    _local.asked = (None, "")
    return manager, name
