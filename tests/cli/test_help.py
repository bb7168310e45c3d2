"""Every command explains itself, the reference page is current, and starting is cheap."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

import odibi_actors
from odibi_actors.cli import reference
from odibi_actors.cli.__main__ import odibictl
from odibi_actors.cli.base import Command

ALL = list(reference.commands(odibictl))
LEAVES = [(path, command) for path, command in ALL if not isinstance(command, click.Group)]
DOCS = Path(odibi_actors.__file__).parent.parent / "docs" / "cli.md"


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_given_a_command_then_it_has_help_that_fits_its_parents_list(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert command.help, path
    assert not command.get_short_help_str(64).endswith("..."), command.get_short_help_str(64)


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_given_a_command_then_it_has_examples_of_itself_and_says_what_each_option_is(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert isinstance(command, Command)
    assert any(" ".join(path) in example for example in command.examples), path
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, (path, parameter.name)


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_given_an_example_then_it_parses(path: tuple[str, ...], command: click.Command) -> None:
    assert isinstance(command, Command)
    for example in command.examples:
        if not example.startswith(" ".join(path)):
            continue
        words = example.split("#")[0].split(">")[0].split("|")[0].split()[len(path) :]
        command.make_context(path[-1], words)


def test_given_the_reference_page_then_it_is_what_the_commands_say() -> None:
    assert DOCS.read_text(encoding="utf-8") == reference.page(), (
        "run: python -m odibi_actors.cli.reference > docs/cli.md"
    )


def test_given_help_then_neither_pandas_nor_any_other_heavy_import_is_paid_for() -> None:
    code = """\
import sys
from odibi_actors.cli.__main__ import odibictl
try:
    odibictl(["--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {"pandas", "pyarrow", "duckdb", "ruamel", "zmq", "rich", "polars", "msgspec"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_given_a_client_command_then_no_data_library_is_imported() -> None:
    code = """\
import sys
from odibi_actors.cli.__main__ import odibictl
try:
    odibictl(["status", "--endpoint", "nonsense"])
except SystemExit as end:
    assert end.code == 69
heavy = {"pandas", "pyarrow", "duckdb", "polars"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_given_a_shell_then_its_completion_script_calls_us(invoke: Callable[..., Result], shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert "_ODIBICTL_COMPLETE" in result.stdout
