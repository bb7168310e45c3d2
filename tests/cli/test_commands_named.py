"""Each command of ours that a text in the code names is one that odibictl takes, with the arguments given there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.docs.test_commands import variants, wrong
from tests.test_architecture import SOURCES

MENTIONED = {
    *(
        "odibictl run",
        "odibictl try",
        "odibictl sink compact",
        "odibictl schedule add",
        "odibictl schedule add --replace",
    ),
    *("odibictl pipeline trigger", "odibictl schedule resume", "odibictl event push"),
}
"""Commands that are spoken of, not advised."""
COMPLETED = {"odibictl iteration retry", "odibictl iteration abandon"}
"""What nodes advise who do not know for which iteration: `broker.advice` names it."""
_NAMED = re.compile(r"`(odibictl(?: [^`]+)?)`")


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of what a module may say: no docstrings; what is filled in stands as a word."""
    nodes = list(ast.walk(tree))
    inside = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    silent = {id(node.value) for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            parts = (one.value if isinstance(one, ast.Constant) else "7" for one in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inside | silent):
            yield node.lineno, re.sub(r"\{\w*\}", "7", node.value)


def found(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    if "odibictl" not in source or path.name == "advice.py":
        return
    for line, text in texts(ast.parse(source)):
        for command in _NAMED.findall(text):
            if command in MENTIONED or re.fullmatch(r"odibictl( deadletter)? 7( 7)?", command) or "[^" in command:
                continue  # the verb is filled in, or it is a pattern of such texts
            if not (command in COMPLETED and "nodes" in path.parts) and (said := refused(command)):
                yield f"{path.name}:{line}: {command}: {said}"


@cache
def refused(command: str) -> str:
    return next((said for words in variants(command) if (said := wrong(words, whole=True))), "")


def test_given_a_command_in_a_text_then_odibictl_takes_it_as_it_stands_there() -> None:
    assert not [line for path in SOURCES for line in found(path)]
