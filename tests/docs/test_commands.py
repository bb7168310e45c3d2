"""Each line of a page that calls ``odibictl`` is one that it takes: command, options, number of arguments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import click
import pytest

from odibi_actors.cli.__main__ import odibictl
from tests.docs.test_docs import PAGES, name

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(odibictl(?: [^`]+)?)`")
_ENDS = re.compile(r"^(&&|\|\||[|;&>]|[12]?>>?|<)")
"""Where a command ends in a line of a shell."""


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """(command line, whether it is a whole one: not a mere mention of a command) of a page."""
    for language, block in _FENCE.findall(text):
        if language in ("python", "yaml", "json", "mermaid"):
            continue
        remark = re.compile(r"\s#" if language == "sh" else r"\s#|\s{2,}(?=\S)")
        for whole in block.replace("\\\n", " ").splitlines():
            line = remark.split(whole.strip())[0]
            for found in re.finditer(r"(?:^|[;&|(] ?|\$ |xargs )(odibictl\b(?:'[^']*'|\"[^\"]*\"|[^;&)'\"])*)", line):
                yield found[1].strip(), "xargs" not in line
    for found in _INLINE.finditer(_FENCE.sub("", text)):
        yield re.sub(r"\s+", " ", found[1]), False


def variants(line: str) -> Iterator[list[str]]:
    """The command lines that a synopsis stands for: ``a|b`` is either, ``[X]`` may be left out."""
    for kept in ("", r"\1"):
        text = re.sub(r"\[([^\]]+)\]", kept, line)
        words = shlex.split(text)[1:]
        end = next((place for place, word in enumerate(words) if _ENDS.match(word)), len(words))
        choices = [
            word.split("|") if re.fullmatch(r"[a-z_]+(\|[a-z_]+)+", word) else [word.removesuffix("...")]
            for word in words[:end]
        ]
        yield from map(list, product(*choices))


def wrong(words: list[str], whole: bool) -> str:
    """What odibictl would refuse of these words; "" for nothing. A mention of a command alone has no arguments."""
    command: click.Command = odibictl
    context = click.Context(command, info_name="odibictl")
    try:
        while isinstance(command, click.Group):
            parser = command.make_parser(context)
            parser.allow_interspersed_args = False
            _, words, _ = parser.parse_args(list(words))
            if not words:
                return ""
            found = command.get_command(context, words[0])
            if found is None:
                return f"no command {words[0]}"
            command, words = found, words[1:]
            context = click.Context(command, parent=context, info_name=command.name, **command.context_settings)
        if not words and not whole:
            return ""
        given, more, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    if more:
        return f"does not take {more}"
    arguments = [one for one in command.params if isinstance(one, click.Argument) and one.required]
    there = {name for name, value in given.items() if value and isinstance(value, str | tuple | list)}
    missing = [one.human_readable_name for one in arguments if one.name not in there]
    return f"lacks {missing}" if missing else ""


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_given_a_command_line_in_a_page_then_odibictl_takes_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = [
        f"{line}: {said}" for line, whole in lines(text) for words in variants(line) if (said := wrong(words, whole))
    ]
    assert not found, "\n".join(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("odibictl schedule pause NAME", ""),
        ("odibictl schedule add NAME --cron '0 2 * * *'", "lacks ['NAME']"),
        ("odibictl schedule pause|nosuch NAME", "no command nosuch"),
        ("odibictl iteration wait sales [N] --timeout 5m", ""),
        ("odibictl status NAME", "does not take ['NAME']"),
        ("odibictl node show p 1 n --hed 20", "--hed"),
        ("odibictl --project x status | head", ""),
        ("odibictl deadletter replay 3 4", ""),
    ],
)
def test_given_a_line_then_what_odibictl_would_refuse_is_said(line: str, says: str) -> None:
    found = [said for words in variants(line) if (said := wrong(words, whole=True))]
    assert (says in found[0]) if says else not found
