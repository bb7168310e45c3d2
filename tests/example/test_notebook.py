"""The notebook runs from an empty folder, and its cells put out what stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.example import notebook


@pytest.mark.timeout(180)
def test_given_an_empty_folder_when_the_notebook_is_run_then_its_cells_put_out_what_stands_in_it(
    tmp_path: Path,
) -> None:
    assert notebook.shown(notebook.executed(tmp_path)) == notebook.shown(notebook.read()), (
        "run: python -m tests.example.notebook"
    )
