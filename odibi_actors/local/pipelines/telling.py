"""Where the progress of a run in code is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from odibi_actors.runtime.progress import Progress, seldom


def telling() -> Callable[[str], None]:
    """Lines on stderr, in a notebook those of how far the run has come in one line of the cell, which is replaced."""
    if not _in_notebook():
        return seldom(_to_stderr)
    display: Any = sys.modules["IPython"].display.display
    shown: Any = None

    def tell(line: str) -> None:
        nonlocal shown
        if not isinstance(line, Progress):
            _to_stderr(line)
        elif shown is None:
            shown = display({"text/plain": str(line)}, raw=True, display_id=True)
        else:
            shown.update({"text/plain": str(line)}, raw=True)

    return tell


def _in_notebook() -> bool:
    """Whether this is a cell of a notebook, which can show a line again."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
