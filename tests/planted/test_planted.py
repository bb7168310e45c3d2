"""The bank itself: every patch fits the code, a sample is found, and the runner takes nothing else for a find."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.planted.__main__ import main
from tests.planted.bank import BadPatch, apply, bank, copy, read

SAMPLE = ("fenced-broker-goes-on", "results-told-once", "publish-before-prepare-is-durable")

CODE = "def double(n: int) -> int:\n    return 2 * n\n"
TESTS = """from code_under_test import double

def test_double() -> None:
    assert double(3) == 6

def test_type() -> None:
    assert isinstance(double(3), int)
"""


def test_given_the_bank_then_every_patch_applies_and_its_finders_exist() -> None:
    bugs = bank()

    assert len(bugs) >= 45
    wrong = []
    with copy() as tree:
        for bug in bugs:
            try:
                apply(bug, tree, check=True)
            except BadPatch as error:
                wrong.append(str(error))
            for finder in bug.finders:
                for word in finder.split()[1:]:
                    path, _, test = word.partition("::")
                    if path.startswith("tests/"):
                        assert (tree / path).exists(), f"{bug.name}: {word}"
                        name = test.rpartition("::")[2].partition("[")[0]
                        assert f"def {name}(" in (tree / path).read_text() if test else True, f"{bug.name}: {word}"
    assert not wrong


@pytest.mark.soak
def test_given_a_sample_of_the_bank_when_planted_then_all_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--only={name}" for name in SAMPLE]) == 0

    output = capsys.readouterr().out
    assert output.count("found ") >= len(SAMPLE)
    assert f"{len(SAMPLE)} bugs planted, {len(SAMPLE)} found" in output


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tree of one module and its tests, with a folder ``bugs`` for patches."""
    root = tmp_path / "small"
    (root / "bugs").mkdir(parents=True)
    (root / "code_under_test.py").write_text(CODE)
    (root / "test_it.py").write_text(TESTS)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def plant(root: Path, name: str, old: str, new: str, finder: str = "pytest test_it.py") -> None:
    header = f"Rule: twice is twice\nFound-by: {finder}\n\n"
    names = "--- a/code_under_test.py\n+++ b/code_under_test.py\n"
    hunk = f"{names}@@ -1,2 +1,2 @@\n {CODE.splitlines()[0]}\n-{old}\n+{new}\n"
    (root / "bugs" / f"{name}.patch").write_text(header + hunk)


RIGHT = "    return 2 * n"


def go(root: Path, *arguments: str) -> int:
    return main(list(arguments), root / "bugs", root)


def test_given_a_bug_that_is_found_then_0_and_what_found_it(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(small, "thrice", RIGHT, "    return 3 * n")

    assert go(small) == 0
    assert "test_double: " in capsys.readouterr().out


def test_given_a_bug_that_survives_then_1_names_it(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(small, "thrice", RIGHT, "    return 3 * n")
    plant(small, "subtle", RIGHT, "    return 3 * n if n > 3 else 2 * n")

    assert go(small) == 1
    assert "not found: subtle\n" in capsys.readouterr().out
    assert go(small, "--only", "thri*", "--jobs", "2") == 0


def test_given_a_patch_for_other_code_then_the_error_names_it(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(small, "old", "    return n + n", "    return n")

    assert go(small) == 1
    assert "old: the patch does not apply any more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("new", "finder"),
    [
        ("    return  2 * missing", "pytest test_it.py"),  # NameError: it cannot run, that is no plausible bug
        ("    return (", "pytest test_it.py"),  # not even imported
        ("    return 3 * n", "pytest test_gone.py"),
        ("    return 3 * n", "pytest --no-such-option"),
    ],
)
def test_given_a_command_that_is_broken_then_it_is_no_find(small: Path, new: str, finder: str) -> None:
    plant(small, "broken", RIGHT, new, finder)

    assert go(small) == 1


def test_given_tests_that_fail_without_the_bug_then_they_prove_nothing(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "test_it.py").write_text(TESTS.replace("== 6", "== 7"))
    plant(small, "thrice", RIGHT, "    return 3 * n")

    assert go(small) == 1
    assert "it fails without the bug" in capsys.readouterr().out


def test_given_a_header_without_rule_or_command_then_it_is_refused(tmp_path: Path) -> None:
    for header in ("Rule: a\n", "Found-by: pytest tests\n", "Rule: a\nFound-by: make test\n"):
        path = tmp_path / "x.patch"
        path.write_text(f"{header}\n--- a/x\n+++ b/x\n")
        with pytest.raises(BadPatch, match=r"x\.patch"):
            read(path)


def test_given_a_name_that_is_not_there_then_2(small: Path) -> None:
    assert go(small, "--only", "nothing") == 2
