"""Plain words: what people read says it in words of today."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORMER = re.compile(
    r"(?<![-\w])(anew|mend(?:s|ed|ing)?|nay|hence|lest|whilst|thereof|therein|herewith|hitherto|thenceforth|whence|naught"
    r"|whom to tell|shall)(?![-\w])",
    re.IGNORECASE,
)


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Strings of a module that somebody may be shown: not its docstrings, and no single word, which is a key."""
    tree = ast.parse(path.read_text())
    own = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in own and " " in node.value:
            yield node.lineno, node.value


def test_given_what_people_read_then_no_word_of_former_times_is_in_it() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [
        f"{page.relative_to(ROOT)}:{number}: {match[0]}"
        for page in pages
        for number, line in enumerate(page.read_text().splitlines(), 1)
        for match in FORMER.finditer(line)
    ]
    modules = sorted((ROOT / "odibi_actors").rglob("*.py"))
    found += [
        f"{module.relative_to(ROOT)}:{number}: {match[0]}"
        for module in modules
        for number, text in _texts(module)
        for match in FORMER.finditer(text)
    ]
    assert (len(modules) > 300, found) == (True, [])
