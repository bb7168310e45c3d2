"""The page on kinds: its package is built, installed by pip, and reads files as a built-in format does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_docs import blocks, generate
from tests.sinks.contract import FAULTS
from tests.sources.contract import FAULTS as OF_SOURCES

pytestmark = pytest.mark.xdist_group("kinds")
"""One process: what is made for all of them is made once."""

PAGE = generate.DOCS / "kinds.md"
PROJECT = """\
project: plugged
connections: {{landing: {{type: local, path: landing}}, lake: {{type: local, path: lake}}}}
pipelines:
  - pipeline: p
    nodes:
      - name: src
{read}
      - {{name: out, inputs: [src], write: {{connection: lake, path: out, format: parquet}}}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's package, as pip installs it."""
    source, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("installed")
    (source / "pyproject.toml").write_text(blocks(PAGE, "toml")[0])
    (source / "odibi_keyvalue.py").write_text(blocks(PAGE, "python")[0])
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return target


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's sink, as pip installs it."""
    source, target = tmp_path_factory.mktemp("journal"), tmp_path_factory.mktemp("journal-installed")
    (source / "pyproject.toml").write_text(blocks(PAGE, "toml")[1])
    (source / "odibi_journal.py").write_text(blocks(PAGE, "python")[1])
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    return target


def test_given_the_sink_of_the_page_when_installed_then_it_goes_through_all_that_sinks_are_promised(
    journal: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "PYTHONPATH": f"{journal}{os.pathsep}{generate.DOCS.parent}"}
    command = [sys.executable, "-m", "tests.sinks.plugged", str(tmp_path)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=250)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [*FAULTS]


def test_given_the_sink_of_the_page_when_a_project_uses_it_then_all_verbs_know_it(
    journal: Path, tmp_path: Path
) -> None:
    (tmp_path / "landing").mkdir()
    read = '        read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}'
    text = PROJECT.format(read=read).replace(
        "connection: lake, path: out, format: parquet", "connection: books, table: sales"
    )
    text = text.replace("lake: {type: local, path: lake}", "books: {type: journal, path: books}")
    (tmp_path / "odibi.yaml").write_text(text)
    for name in ("a", "b"):
        (tmp_path / f"landing/{name}.csv").write_text(f"id\n{ord(name)}\n")
        assert odibictl(tmp_path, journal, "run", "p").returncode == 0
    assert [len(json.loads(line)) for line in (tmp_path / "books/sales.jsonl").read_text().splitlines()] == [4, 3, 3]
    for words in (["sink", "show", "p.out"], ["try", "p"], ["checkpoint", "verify"], ["node", "show", "p", "1", "out"]):
        assert odibictl(tmp_path, journal, *words).returncode == 0, words
    assert odibictl(tmp_path, journal, "reset", "p", "--targets", "--yes").returncode == 0
    assert not (tmp_path / "books/sales.jsonl").exists()


def odibictl(folder: Path, packages: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "odibi_actors.cli", *words, "--project", str(folder)]
    # This tree's code, also where it is a copy.
    env = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{generate.DOCS.parent}"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_given_the_package_of_the_page_when_installed_then_it_reads_as_a_built_in_format(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT.format(read=blocks(PAGE, "yaml")[0].rstrip()))
    (tmp_path / "landing/a.kv").write_text("id=1\nname=x\n\nid=2\nname=y\n")
    assert odibictl(tmp_path, installed, "validate").returncode == 0
    ran = odibictl(tmp_path, installed, "run", "p")
    assert ran.returncode == 0, ran.stderr
    assert "rows_read      2" in ran.stdout
    assert "id     name\nint64  string\n" in odibictl(tmp_path, installed, "try", "p").stdout
    (tmp_path / "landing/b.kv").write_text("id=3\nname=z\n\nid=07\nname=w\n")
    bad = odibictl(tmp_path, installed, "run", "p")
    assert bad.returncode == 5
    assert "b.kv line 4, column id: '07' is not int64" in bad.stderr


def test_given_a_file_that_a_plugged_format_cannot_decode_then_that_file_alone_is_set_aside(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "landing").mkdir()
    text = PROJECT.format(read=blocks(PAGE, "yaml")[0].rstrip()).replace(
        "    nodes:", "    on_error: dead_letter\n    nodes:"
    )
    (tmp_path / "odibi.yaml").write_text(text)
    (tmp_path / "landing/a.kv").write_text("id=1\n")
    (tmp_path / "landing/b.kv").write_bytes(b"id=2\n\nid=\xff\n")
    ran = odibictl(tmp_path, installed, "run", "p")
    assert ran.returncode == 5
    assert "dead letter at src: b.kv line 3: bytes that are not utf-8" in ran.stderr
    assert "rows_read      1" in ran.stdout


def test_given_a_format_that_is_not_installed_then_validate_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "odibi.yaml").write_text(PROJECT.format(read=blocks(PAGE, "yaml")[0].rstrip()))
    done = odibictl(tmp_path, tmp_path, "validate")
    assert done.returncode == 2
    assert "format: unknown value (got keyvalue); one of: arrow, avro, csv, " in done.stderr


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("options: {separator: 1}", "option 'separator' must be str, not 1"),
        ("options: {seperator: x}", "did you mean 'separator'?"),
    ],
)
def test_given_wrong_options_of_a_plugged_format_then_validate_says_so(
    installed: Path, tmp_path: Path, option: str, says: str
) -> None:
    read = blocks(PAGE, "yaml")[0].rstrip().replace("mode:", f"{option}, mode:")
    (tmp_path / "odibi.yaml").write_text(PROJECT.format(read=read))
    done = odibictl(tmp_path, installed, "validate")
    assert done.returncode == 2
    assert says in done.stderr


def test_given_a_package_that_brings_a_format_of_ours_then_ours_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "zz_other-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: zz-other\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[odibi_actors.formats]\ncsv = zz_other:FORMAT\n")
    say = "from odibi_actors.kinds.registry import _found, FORMATS; print(_found(FORMATS)['csv'].value)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", say], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "odibi_actors.nodes.formats.csv_format:FORMAT"


def test_given_the_source_of_the_page_when_installed_then_it_goes_through_the_contract_and_a_project_reads_by_it(
    tmp_path: Path,
) -> None:
    source, target, root = (tmp_path / name for name in ("package", "installed", "project"))
    for folder in (source, root):
        folder.mkdir()
    (source / "pyproject.toml").write_text(blocks(PAGE, "toml")[2])
    (source / "odibi_mailbox.py").write_text(blocks(PAGE, "python")[2])
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True)
    env = {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{generate.DOCS.parent}"}
    command = [sys.executable, "-m", "tests.sources.plugged", str(tmp_path)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [*OF_SOURCES]
    read = next(one for one in blocks(PAGE, "yaml") if "mode: mailbox" in one).rstrip()
    (root / "odibi.yaml").write_text(PROJECT.format(read=read))
    (root / "landing/mail/a").mkdir(parents=True)
    for number in (1, 2):
        (root / f"landing/mail/a/{number}.json").write_text(json.dumps({"n": number}))
    assert "rows_read      2" in odibictl(root, target, "run", "p").stdout
    (root / "landing/mail/a/3.json").write_text(json.dumps({"n": 3}))
    assert "rows_read      1" in odibictl(root, target, "run", "p").stdout
