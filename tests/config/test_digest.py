"""The code digest: what changes it, what does not, and its bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from odibi_actors.config import code_digest, digest
from odibi_actors.errors import ConfigError


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_it_is_stable_and_the_same_elsewhere(tmp_path: Path) -> None:
    files = {"nodes/b.py": "b", "nodes/a/c.py": "c"}
    one, two = _write(tmp_path / "1", files), _write(tmp_path / "2", dict(reversed(files.items())))
    assert code_digest(one) == code_digest(two)
    assert len(code_digest(one)) == 32


@pytest.mark.parametrize(
    "files",
    [
        {"nodes/a.py": "x2"},
        {"nodes/b.py": ""},
        {"nodes/sub/d.py": ""},
        {"nodes/a.py": "", "nodes/c.py": "xx"},
    ],
)
def test_any_change_of_names_or_bytes_changes_it(tmp_path: Path, files: dict[str, str]) -> None:
    before = {"nodes/a.py": "x", "nodes/c.py": "x"}
    one = code_digest(_write(tmp_path / "1", before))
    assert code_digest(_write(tmp_path / "2", before | files)) != one


def test_bytes_cannot_move_between_files_unseen(tmp_path: Path) -> None:
    one = _write(tmp_path / "1", {"nodes/a.py": "P10:nodes/b.py:Q"})
    two = _write(tmp_path / "2", {"nodes/a.py": "P", "nodes/b.py": "Q"})
    assert code_digest(one) != code_digest(two)


def test_the_order_is_that_of_the_names_whatever_the_disk_says(tmp_path: Path) -> None:
    names = [f"nodes/{name}.py" for name in ("a/z", "b", "c/d/e", "m", "n", "x", "z/a")]
    assert digest.code_files(_write(tmp_path, dict.fromkeys(reversed(names), ""))) == names


def test_caches_and_other_files_do_not_change_it(tmp_path: Path) -> None:
    one = code_digest(_write(tmp_path, {"nodes/a.py": "x"}))
    others = {"nodes/__pycache__/a.py": "y", "nodes/.venv/a.py": "y", "nodes/a.pyc": "y", "sql/a.py": "y"}
    assert code_digest(_write(tmp_path, others)) == one


def test_no_nodes_folder_is_a_digest_too(tmp_path: Path) -> None:
    assert len(code_digest(tmp_path)) == 32


def test_too_much_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _write(tmp_path, {"nodes/a.py": "xx", "nodes/b.py": "xx"})
    monkeypatch.setattr(digest, "MAX_CODE_BYTES", 3)
    with pytest.raises(ConfigError, match="more than 3 bytes"):
        code_digest(root)
    monkeypatch.setattr(digest, "MAX_CODE_FILES", 1)
    with pytest.raises(ConfigError, match="more than 1 Python files"):
        code_digest(root)
