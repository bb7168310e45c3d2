"""The recipes do what they say: each is typed into an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.docs.test_docs import ROOT

PAGE = ROOT / "docs" / "recipes.md"
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
LIVE = ("Failures in a chat", "A script", "Rows that are pushed")
"""Those that start a system."""


def script(recipe: str) -> str:
    """The blocks of a recipe as one script: files are written, commands run, in the order of the page."""
    lines = ["trap 'odibictl down 2>/dev/null || true' EXIT" if "up --detach" in recipe else ""]
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", recipe, re.DOTALL | re.MULTILINE):
        if language == "sh":
            lines.append(block)
        elif language in ("yaml", "python"):
            name = "odibi.yaml" if language == "yaml" else block.partition("\n")[0].removeprefix("# ")
            lines.append(f"mkdir -p $(dirname {name}); cat > {name} <<'END_OF_FILE'\n{block}END_OF_FILE\n")
    return "\n".join(lines)


def follow(recipe: str, folder: Path, *, again: bool = False, **variables: str) -> str:
    """What the commands print. Fails when one of them does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ODIBI_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script(RECIPES[recipe])],
        cwd=folder,
        env={**kept, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if "FATAL: exception not rethrown" in done.stderr and not again:
        # Now and then, on a loaded machine, CPython ends a thread of a C++ library while the interpreter exits, after
        # all is done: what the recipe says is tried once more, in a folder of its own.
        (folder / "again").mkdir()
        return follow(recipe, folder / "again", again=True, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("recipe", "printed"),
    [
        ("Orders that are corrected later", r"\[\(1, 'sent'\), \(2, 'new'\)\]"),
        (
            "A log that is appended to",
            r"rows_read +2\n(.|\n)*rows_read +2\n(.|\n)*no_data(.|\n)*\[\(\[1, 2, 3, 4\],\)\]",
        ),
        (
            "A table that grows",
            r"rows_read +2\n(.|\n)*rows_read +3\n(.|\n)*no_data(.|\n)*\[\(1, 'paid'\), \(1, 'sent'\), \(2, 'paid'\), "
            r"\(3, 'paid'\), \(4, 'new'\)\]\n\[\(1, 'sent'\), \(2, 'paid'\), \(3, 'paid'\), \(4, 'new'\)\]",
        ),
        ("A service that is asked every hour", r"rows_read +1\n(.|\n)*\[\('EUR', 'USD', 1\.08\)"),
        ("Reference data", r"state +done(.|\n)*rows_read +2\n"),
        (
            "A column was added",
            r"To take 'channel'(.|\n)*lake_orders`, `odibictl(.|\n)*(\[\(1, 9\.5, None\), \(2, 3\.0, 'web'\)\]\n){2}",
        ),
        (
            "Columns that come and go",
            r"2 +.+channel +new +string(.|\n)*\[\(1, 9\.5, None\), \(2, 3\.0, 'web'\), \(3, None, 'shop'\)\]",
        ),
        ("Several sources, one of them bad", r"shop-1\.csv +2 (.|\n)*\[\('shop', 1, 7\.0\), \('web', 1, 9\.5\)\]"),
        ("A report over the lake", r"│ fr +│ +2 │ +158\.0 │"),
        (
            "A lake by country",
            r"('country': '007'(.|\n)*\[\('007', 10\.5\), \('fr', 0\.5\), \(None, 1\.0\)\](.|\n)*){2}",
        ),
        ("A report that is replaced", r"\[\('de', 1, 1\.0\), \('fr', 2, 10\.0\)\]"),
        ("A sample first", r"mart_sales +write +ok(.|\n)*prices-\*\.csv +2 +id int64, price double"),
        ("A test of a node function", r"1 passed"),
        ("Starting over", r"files read again +2(.|\n)*state +done\niterations +1\ncommitted +1"),
        ("In a notebook", r"clean ok 7(.|\n)*done 9"),
    ],
)
def test_given_a_recipe_when_followed_then_it_does_what_it_says(recipe: str, printed: str, tmp_path: Path) -> None:
    out = follow(recipe, tmp_path)
    assert re.search(printed, out), out


class Chat(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    heard: list[dict[str, str]]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def chat() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of a chat's webhook, and what it was told."""
    handler = type("Handler", (Chat,), {"heard": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", handler.heard
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.process
@pytest.mark.xdist_group("systems")
@pytest.mark.timeout(180)
def test_given_the_recipe_of_alerts_then_the_chat_is_told(
    tmp_path: Path, chat: tuple[str, list[dict[str, str]]]
) -> None:
    address, heard = chat
    follow("Failures in a chat", tmp_path, CHAT_URL=address)
    assert [(one["kind"], one["pipeline"]) for one in heard][:1] == [("failure", "orders")]
    assert "bad.csv line 2" in heard[0]["text"]


@pytest.mark.process
@pytest.mark.xdist_group("systems")
@pytest.mark.timeout(180)
def test_given_the_recipe_of_a_script_then_it_lists_what_ran(tmp_path: Path) -> None:
    assert "1 committed 9\n" in follow("A script", tmp_path)


def test_given_the_page_then_every_recipe_is_followed() -> None:
    marks = test_given_a_recipe_when_followed_then_it_does_what_it_says.pytestmark
    followed = [case[0] for mark in marks if mark.name == "parametrize" for case in mark.args[1]]
    assert sorted([*followed, *LIVE]) == sorted(RECIPES)


@pytest.mark.process
@pytest.mark.timeout(180)
def test_given_the_recipe_of_pushed_rows_then_they_are_there_once(tmp_path: Path) -> None:
    out = follow("Rows that are pushed", tmp_path)
    assert "'known': 0}\n{'rows': 2, 'events': 1, 'known': 1}\n" in out
    assert out.endswith("[([1, 2, 3],)]\n")
