"""The notebook of ``examples/``: executed, and what its cells put out. ``python -m tests.example.notebook`` writes that
into it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).parent.parent.parent / "examples" / "notebook" / "sales.ipynb"


def read() -> Any:
    """The notebook as it is written."""
    return nbformat.read(PATH, as_version=4)


def executed(folder: Path) -> Any:
    """The notebook, run from its first cell to the last in a kernel whose current folder is ``folder``.

    Raises CellExecutionError, with the traceback of a cell that fails.
    """
    own = {name: str(folder / ".jupyter") for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
    notebook = read()
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # it warns of TCP on loopback
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, **own})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it was run
    return notebook


def shown(notebook: Any) -> list[list[dict[str, Any]]]:
    """What its code cells put out, but for the numbers of runs: they count records, of which there may be others."""
    told = [[dict(output) for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]
    found: list[list[dict[str, Any]]] = json.loads(re.sub(r"manual@\d+-\d+", "manual@N", json.dumps(told)))
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="notebook-") as place:
        nbformat.write(executed(Path(place)), PATH)
