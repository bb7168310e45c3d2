"""Patches that are applied by their text: what they survive, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planted.patches import Misfit, apply

CODE = """\
def first(n):
    check(n)
    return n


def second(n):
    check(n)
    note(n)
    return n + 1
"""
PATCH = """\
Rule: what is second is noted
Found-by: pytest tests

--- a/code/here.py
+++ b/code/here.py
@@ -7,3 +7,2 @@ def second(n):
     check(n)
-    note(n)
     return n + 1
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the one file that the patch is for."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/here.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    "code",
    [
        CODE,
        "import x\n\n" + CODE,  # its lines have moved
        CODE.replace("    return n + 1", "    return 1 + n"),  # the line below is another one
        CODE.replace("    check(n)\n    note", "    check(n, n)\n    note"),  # the line above is
    ],
)
def test_given_changes_around_the_lines_when_applied_then_it_changes_what_it_is_for(tree: Path, code: str) -> None:
    (tree / "code/here.py").write_text(code)

    apply(PATCH, tree)

    assert (tree / "code/here.py").read_text() == code.replace("    note(n)\n", "")


def test_given_code_that_moved_to_another_file_when_applied_then_it_is_found_there(tree: Path) -> None:
    (tree / "code/here.py").rename(tree / "there.py")

    apply(PATCH, tree)

    assert (tree / "there.py").read_text() == CODE.replace("    note(n)\n", "")


def test_given_nothing_but_a_look_when_it_fits_then_nothing_is_changed(tree: Path) -> None:
    apply(PATCH, tree, check=True)

    assert (tree / "code/here.py").read_text() == CODE


def test_given_places_that_are_alike_when_applied_then_the_line_number_chooses(tree: Path) -> None:
    twice = "\n\n".join([CODE, CODE])
    (tree / "code/here.py").write_text(twice)
    apply(PATCH, tree)
    assert (tree / "code/here.py").read_text() == twice.replace("    note(n)\n", "", 1)

    (tree / "code/here.py").write_text("\n" + twice)
    with pytest.raises(Misfit, match=r"code/here\.py:7: its lines stand more than once \(code/here\.py:8, code/here"):
        apply(PATCH, tree)


@pytest.mark.parametrize("code", [CODE.replace("note", "write"), ""])
def test_given_lines_that_are_gone_when_applied_then_it_is_refused(tree: Path, code: str) -> None:
    (tree / "code/here.py").write_text(code)

    with pytest.raises(Misfit, match="nowhere"):
        apply(PATCH, tree)


def test_given_lines_to_put_in_when_there_is_nothing_beside_them_then_it_is_refused(tree: Path) -> None:
    patch = PATCH.replace("-    note(n)", "+    note(n)").replace("check(n)", "gone(n)").replace("n + 1", "gone")

    with pytest.raises(Misfit):
        apply(patch, tree)


def test_given_no_change_at_all_then_it_is_refused(tree: Path) -> None:
    with pytest.raises(Misfit, match="nothing"):
        apply("Rule: none\n", tree)
