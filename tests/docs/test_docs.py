"""The documentation says what is so: generated parts are current, examples run, links and commands exist."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import click
import pytest

from odibi_actors.cli import reference
from odibi_actors.cli.__main__ import odibictl
from odibi_actors.client import Client
from odibi_actors.config import load_project
from odibi_actors.config.model import AlertKind
from odibi_actors.model import TRANSITIONS
from tests.docs import generate

ROOT = generate.DOCS.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(generate.DOCS.rglob("*.md"))]
ADRS = sorted((generate.DOCS / "adr").glob("[0-9]*.md"))
COMMANDS = {" ".join(path[1:]): command for path, command in reference.commands(odibictl)}
GROUPS = {name for name, command in COMMANDS.items() if name and isinstance(command, click.Group)}
NODES = """
import pyarrow as pa
from odibi_actors.nodes.transform import Context, run_function
import logging
rows = pa.table({"date": ["d"] * 3, "carrier": list("abc"), "dep_delay": [1.0, 700.0, 20.0]})
context = Context("delays", 1, "node", 1, None, logging.getLogger())
print(run_function("nodes.flights:clean", {"max_delay": 600}, {"flights": rows}, context).num_rows)
print(run_function("nodes.flights:narrow", {}, {"clean": rows}, context).column_names)
print(run_function("nodes.flights:longest", {}, {"clean": rows}, context).column("carrier").to_pylist())
"""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def section(page: Path, heading: str) -> str:
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found, heading
    return found[1]


# --- generated --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_given_a_page_then_its_generated_parts_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == generate.renew(text), "run: python -m tests.docs.generate"


def test_given_the_generator_then_each_part_stands_in_a_page_and_no_event_lacks_its_cause() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert all(f"<!-- begin {part} -->" in pages for part in generate.PARTS)
    assert {event for events in TRANSITIONS.values() for event in events} == set(generate.CAUSES)


def test_given_a_changed_table_then_the_page_is_no_longer_current(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (generate.DOCS / "protocol.md").read_text(encoding="utf-8")
    monkeypatch.setitem(TRANSITIONS, "committed", {"cancel": "cancelled"})
    assert generate.renew(page) != page


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_given_a_row_of_a_table_then_it_stands_on_one_line(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [line for line in text.splitlines() if line.startswith("|") and not line.rstrip().endswith("|")] == []


# --- examples ---------------------------------------------------------------------------------------------------------


def project(block: str, folder: Path) -> None:
    (folder / "nodes").mkdir()
    (folder / "odibi.yaml").write_text(block)
    (folder / "nodes" / "flights.py").write_text("\n".join(blocks(README, "python")))
    for module in (one for page in PAGES for one in blocks(page, "python") if one.startswith("# nodes/")):
        (folder / module.partition("\n")[0].removeprefix("# ")).write_text(module)


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=name(page)) for page in PAGES for block in blocks(page, "yaml") if "project:" in block],
)
def test_given_a_whole_project_in_a_page_then_it_is_valid(block: str, tmp_path: Path) -> None:
    project(block, tmp_path)
    assert load_project(tmp_path, env={}).pipelines


def test_given_the_node_functions_of_the_readme_then_they_run(tmp_path: Path) -> None:
    project("", tmp_path)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", NODES], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["2", "['date', 'carrier']", "['b', 'c', 'a']"], done.stderr


@pytest.mark.process
@pytest.mark.xdist_group("systems")
@pytest.mark.timeout(180)
def test_given_the_two_minutes_of_the_readme_when_typed_then_they_do_what_it_says(tmp_path: Path) -> None:
    text = section(README, "Your own project in two minutes")
    script = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euxc", f"trap 'odibictl down || true' ERR\n{script}"],
        cwd=tmp_path,
        env={**kept, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"2025-01-03 +fr +2 +25\.5", done.stdout), done.stdout
    assert re.search(r"2025-01-03 +│ +3 ", done.stdout), done.stdout
    assert re.search(r"committed +live", done.stdout), done.stdout
    assert re.search(r"mart_sales +acked", done.stdout), done.stdout
    assert not _alive(tmp_path), "down left processes behind"


def _alive(folder: Path) -> list[str]:
    """Processes that still work in the folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(folder):
                found.append(process.name)
        except OSError:
            continue  # it ended, or is another user's
    return found


def test_given_keys_said_to_be_without_effect_then_nothing_reads_them() -> None:
    text = (generate.DOCS / "configuration.md").read_text(encoding="utf-8")
    said = re.search(r"^Accepted, and without effect.*?\n\n", text, re.DOTALL | re.MULTILINE)
    assert said
    for key, read in (("shared", "connection.shared"),):
        assert key in said[0]
        for folder in ("broker", "workers", "odibi_actors"):
            for source in (ROOT / folder).rglob("*.py"):
                assert read not in source.read_text(encoding="utf-8"), f"{source.name} reads {key}: correct the page"


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=name(page)) for page in PAGES for block in blocks(page, "python") if "Client(" in block],
)
def test_given_code_with_a_client_then_it_calls_methods_as_they_are(block: str) -> None:
    calls = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    called = [
        call for call in calls if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "client"
    ]
    assert called
    for call in called:
        assert isinstance(call.func, ast.Attribute)
        method = getattr(Client, call.func.attr)
        inspect.signature(method).bind(None, *call.args, **{str(one.arg): one.value for one in call.keywords})


# --- references -------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_given_a_relative_link_then_what_it_names_is_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_given_a_file_of_ours_in_code_marks_then_it_is_there(page: Path) -> None:
    for path in re.findall(
        r"`((?:odibi_actors|broker|workers|scripts|examples)/[\w./-]*)[` ]", page.read_text("utf-8")
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_given_a_command_of_odibictl_then_it_exists(page: Path) -> None:
    for words in re.findall(
        r"(?<![\w./-])odibictl ((?:[a-z]+(?:\|[a-z]+)*(?: |(?=[`\n,;:])))+)", page.read_text("utf-8")
    ):
        first, *rest = words.split()
        assert first in COMMANDS, f"odibictl {words}"
        for second in rest[0].split("|") if rest and first in GROUPS else []:
            assert f"{first} {second}" in COMMANDS, f"odibictl {words}"


def test_given_the_kinds_of_alerts_then_the_page_has_each() -> None:
    section = (generate.DOCS / "configuration.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    listed = section.partition("\n`failure`: ")[2].partition("Without `on`: all ")[0]
    assert [kind for kind in get_args(AlertKind) if kind != "failure" and f"`{kind}`" not in listed] == []
    count = ("none", "one", "two", "three", "four", "five", "six", "seven")[len(get_args(AlertKind))]
    assert f"Without `on`: all {count}." in section


def test_given_the_decisions_then_all_are_numbered_listed_and_complete() -> None:
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (generate.DOCS / "adr" / "README.md").read_text(encoding="utf-8"))
    assert listed == [adr.name for adr in ADRS]
    assert [int(adr.name[:4]) for adr in ADRS] == list(range(1, len(ADRS) + 1))
    for adr in ADRS:
        text = adr.read_text(encoding="utf-8")
        assert text.startswith(f"# {adr.name[:4]} ")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
