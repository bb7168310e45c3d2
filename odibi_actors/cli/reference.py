"""The reference page, from the commands' own help: ``python -m odibi_actors.cli.reference > docs/cli.md``."""

from __future__ import annotations

from collections.abc import Iterator

import click

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.cli.base import Command

WIDTH = 100

HEAD = """\
# odibictl

<!-- Written by `python -m odibi_actors.cli.reference > docs/cli.md`; a test fails when it is not current. -->

The control CLI is a ZeroMQ client of the running system. stdout carries results only; messages go to stderr.

`--project`, `--endpoint` and `--timeout` may stand before or after the command.

| format (`-o`) | what it prints |
|---|---|
| `table` | for people; coloured on a terminal unless `NO_COLOR` is set |
| `json` | one object with `"schema": 1`; lists under `"items"` |
| `jsonl` | one object per line: the rows of a list, or the object |
| `yaml` | the same as `json` |
| `name` | what other commands take as an argument, one per line |

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | error |
| 2 | usage, or invalid config |
| 3 | not found |
| 4 | conflict with the present state |
| 5 | the run or iteration failed |
| 6 | partial reply |
| 69 | unreachable: no broker answers |
| 124 | timed out |
| 130 | interrupted |

A reader that leaves (`odibictl run p | head -1`) changes nothing of what is done: a verb goes on to its end, and its
exit code tells what happened. Only what would show for ever ends with its reader: `--watch` and `logs -f`. Where stdout
cannot be written (a full disk), that is told on stderr, and the exit code is 1 where it would have been 0.
"""


def commands(
    command: click.Command, path: tuple[str, ...] = ("odibictl",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below ``command`` and itself, with its path."""
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


def help_text(path: tuple[str, ...], command: click.Command) -> str:
    """What ``--help`` prints, at a fixed width."""
    context: click.Context | None = None
    for name in path[:-1]:
        context = click.Context(click.Group(name), parent=context, info_name=name)
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return command.get_help(click.Context(command, parent=context, info_name=path[-1], **settings))


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for path, command in commands(odibictl):
        heading = "##" if len(path) <= 2 or not isinstance(command, Command) else "###"
        title = " ".join(path)
        if len(path) == 1:
            title = "Commands"
        parts.append(f"{heading} {title}\n\n```text\n{help_text(path, command)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    click.echo(page(), nl=False)
