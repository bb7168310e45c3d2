"""What every command shares: the options that name a system, groups that guess what was meant, help with examples."""

from __future__ import annotations

import difflib
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from odibi_actors.cli import errors, locks
from odibi_actors.runtime import leaving
from odibi_actors.runtime.linux import stand_in

if TYPE_CHECKING:
    from odibi_actors.client import Client
    from odibi_actors.config.doors import Doors
    from odibi_actors.model import Home

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.3
    """A duration as in ``odibi.yaml`` (``250ms 10s 5m 1h 7d``) or plain seconds; converts to seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of ``value``."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", value.strip())
        if match is None:
            self.fail(f"{value!r} is not a duration; write for example 250ms, 10s, 5m, 1h, 7d", param, ctx)
        return float(match[1]) * UNITS[match[2] or "s"]


@dataclass
class App:
    """What the options said; one per invocation. ``timeout`` in seconds, None where the command has its own
    default."""

    project: Path | None = None
    endpoint: str | None = None
    timeout: float | None = None
    output: str = "table"
    yes: bool = False
    rested: bool = False
    changed: bool = False

    @property
    def root(self) -> Path:
        """The project's folder: ``--project``, else ``ODIBI_PROJECT``, else where we stand."""
        from odibi_actors.client import project_root

        root = project_root(self.project)
        stand_in(root)
        return root

    @property
    def data_dir(self) -> Path:
        """Where the project keeps its state."""
        from odibi_actors.client import data_dir

        return data_dir(self.root)

    @property
    def doors(self) -> Doors:
        """How to get to the project's targets."""
        from odibi_actors.config.doors import Doors

        return Doors(self.root)

    @property
    def home(self) -> Home:
        """Where the project's store lives, as its targets are marked."""
        from odibi_actors.nodes.sinks.owner import home_of

        return home_of(self.data_dir, self.root)

    def client(self) -> Client:
        """A client of the running system, closed when the command ends."""
        from odibi_actors.client import REQUEST_TIMEOUT, Client

        if not (self.endpoint or (self.project is None and os.environ.get("ODIBI_ENDPOINT"))):
            self._refuse_nowhere()
            self._refuse_remains()
        client = Client(self.endpoint, self.project, REQUEST_TIMEOUT if self.timeout is None else self.timeout)
        client.on_rest, client.on_change = self._told_at_rest, self._told_of_change
        click.get_current_context().call_on_close(client.close)
        return client

    def _refuse_nowhere(self) -> None:
        """Where there is neither a project nor what one has left, nothing can be asked. Raises ConfigError."""
        from odibi_actors.client import connection_file
        from odibi_actors.errors import ConfigError

        root = self.root
        if not (root / "odibi.yaml").exists() and not connection_file(self.project).parent.parent.exists():
            raise ConfigError(
                f"{root} is no project: there is no odibi.yaml; go to one, or name it: --project DIR (a running system "
                "also by --endpoint); `odibictl init DIR` makes one"
            )

    def _told_at_rest(self, folder: Path, as_of: float) -> None:
        """Say once that what is shown is not that of a running system."""
        if not self.rested:
            self.rested = True
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(as_of))
            errors.message(f"nothing runs on {folder}; read from the store at rest (as of {when})")

    def _told_of_change(self, folder: Path) -> None:
        """Say once that what was changed has no effect before something runs."""
        if not self.changed:
            what = "changed in the store at rest" if self.rested else f"nothing runs on {folder}; changed in its store"
            errors.message(f"{what}, for the next `odibictl run` or `odibictl up`")
        self.rested = self.changed = True

    def _refuse_remains(self) -> None:
        """Raise UnreachableError at once when the connection file is what is left of a system that has ended: nobody
        on this machine holds any of its locks."""
        from odibi_actors.client import START, connection_file, read_connection
        from odibi_actors.errors import UnreachableError

        path = connection_file(self.project)
        if (path.parent.parent / "checkpoints.db").exists():
            return  # the client reads the store at rest
        if read_connection(path)["endpoint"].startswith("ipc:") and not locks.holders(path.parent):
            raise UnreachableError(f"nothing runs on {path.parent.parent}; {START}")

    def confirm(self, question: str) -> None:
        """Ask on stderr unless ``--yes``; a "no" ends the command with exit code 1, nobody there to answer with 2."""
        try:
            if self.yes or click.confirm(question, err=True):
                return
        except click.Abort:  # Ctrl-C, or nobody there to answer
            errors.message("\nnothing was changed; pass --yes to go on without being asked")
            raise click.exceptions.Exit(errors.INTERRUPTED if sys.stdin.isatty() else 2) from None
        errors.message(
            "nothing was changed" if sys.stdin.isatty() else "\nnothing was changed"
        )  # a terminal shows Enter
        raise click.exceptions.Exit(1)


pass_app = click.make_pass_decorator(App, ensure=True)


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep an option in the App, wherever on the line it stood; the one nearest to the command wins."""
    if value is not None:
        setattr(ctx.ensure_object(App), str(param.name), value)


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option that lands in ``App`` under its own name."""
    return click.option(*names, expose_value=False, callback=_remember, **settings)


def global_options(hidden: bool) -> list[click.Parameter]:
    """``--project``, ``--endpoint``, ``--timeout``: allowed before and after the command."""
    common: dict[str, Any] = {"expose_value": False, "callback": _remember, "hidden": hidden}
    return [
        click.Option(
            ["--project"],
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of odibi.yaml (else ODIBI_PROJECT, else the current one).",
            **common,
        ),
        click.Option(
            ["--endpoint"],
            metavar="ADDRESS",
            help="Address of the broker (else ODIBI_ENDPOINT, else the project's connection file).",
            **common,
        ),
        click.Option(
            ["--timeout"],
            type=Duration(),
            help="Give up after this long, exit 124 (10s; waits go on until their condition holds).",
            **common,
        ),
    ]


def output_option(*formats: str) -> Callable[[F], F]:
    """``-o``: the first of ``formats`` is the default."""

    def apply(ctx: click.Context, param: click.Parameter, value: str) -> None:
        ctx.ensure_object(App).output = value

    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        expose_value=False,
        callback=apply,
        help="Format of the result.",
    )


lists = output_option("table", "json", "jsonl", "yaml", "name")
"""The formats of whatever has rows or fields."""
yes = option("--yes", "-y", is_flag=True, default=None, help="Do not ask.")


class Command(click.Command):
    """A command whose help ends with examples, and which takes the global options too."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"], "max_content_width": 100})
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.extend(global_options(hidden=True))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Group(click.Group):
    """A group that lists commands in the order they were added and answers a typo with what was meant."""

    command_class = Command
    aliases: Mapping[str, str] = {}
    """Names that other tools use for a command -> the command."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"], "max_content_width": 100})
        kwargs.setdefault("no_args_is_help", True)
        super().__init__(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order a user meets them, not by alphabet."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say what it may have been."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-") and not ctx.resilient_parsing:
            known = self.aliases.get(args[0])
            near = [known] if known else difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; there are: {', '.join(self.commands)}"
            ctx.fail(f"no such command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)


class Root(Group):
    """``odibictl`` itself: turns every error into its message and exit code."""

    aliases = {
        "start": "up",
        "stop": "down",
        "restart": "down, then up",
        "ps": "status",
        "top": "status",
        "list": "pipeline list",
        "version": "--version",
        "help": "--help",
        "new": "init",
        "check": "validate",
        "reload": "apply",
        "retry": "iteration retry",
        "cancel": "iteration cancel",
        "trigger": "pipeline trigger",
        "runs": "pipeline runs",
        "schedules": "schedule list",
        "cron": "schedule next --cron",
        "next": "schedule next",
        "alerts": "alert list",
        "scale": "worker scale",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(global_options(hidden=False))

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        """Run, and exit with the code of the design (see ``errors``)."""
        call: Callable[..., object] = super().main
        if not standalone_mode:
            return call(*args, standalone_mode=False, **kwargs)
        code = errors.guard(lambda: call(*args, standalone_mode=False, **kwargs))
        raise SystemExit(leaving.leave(errors.shown(code)))


def group(name: str, help: str) -> Group:
    """A group for one noun."""
    return Group(name=name, help=help)
