"""Arguments that name something, and what completes them: pipelines, schedules, values of parameters."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from odibi_actors.cli.base import App

if TYPE_CHECKING:
    from odibi_actors.client import Client
    from odibi_actors.config.model import ProjectSpec, ScheduleSpec

ALL = "all"
F = TypeVar("F", bound=Callable[..., Any])
MANY = 20
"""Names in a message."""
PATIENCE = 0.5
"""Seconds that completion waits for the running system: somebody has pressed a key."""


def letters(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> list[int | str]:
    """Ids of dead letters, from 1 on, with blanks or commas (``3 4``, ``3,4``), or ``[ALL]``. Raises BadParameter."""
    words = [word for text in value for word in text.replace(",", " ").split()]
    if words == [ALL]:
        return [ALL]
    if not words or not all(word.isdecimal() and word.isascii() and 0 < int(word) < 2**63 for word in words):
        said = f"{' '.join(words)!r}: write ids of dead letters, such as 3,4, or `all` alone"
        raise click.BadParameter(said, ctx, param)
    return [int(word) for word in words]


def complete_pipeline(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Pipelines of odibi.yaml, and of the running system."""
    app = ctx.ensure_object(App)
    found = [*_written(app, lambda project: [p.name for p in project.pipelines])]
    found += _running(ctx, lambda client: [row["pipeline"] for row in client.pipelines()["items"]])
    return [CompletionItem(name) for name in dict.fromkeys(found) if name.startswith(incomplete)]


def complete_schedule(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Schedules of odibi.yaml, and of the running system: by name where that is unique, else ``pipeline.schedule``."""
    app = ctx.ensure_object(App)
    pairs = [*_written(app, lambda project: [(p, s.name) for p, s in written(project)])]
    pairs += _running(ctx, lambda client: [(row["pipeline"], row["schedule"]) for row in client.schedules()["items"]])
    pairs = list(dict.fromkeys(pairs))
    names = [schedule for _, schedule in pairs]
    short = [schedule if names.count(schedule) == 1 else f"{pipeline}.{schedule}" for pipeline, schedule in pairs]
    full = [f"{pipeline}.{schedule}" for pipeline, schedule in pairs] if "." in incomplete else []
    return [CompletionItem(name) for name in dict.fromkeys([*short, *full]) if name.startswith(incomplete)]


def complete_lane(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Lanes of the backfills, and pipelines, of which one may stand before."""
    found = _running(
        ctx, lambda client: [word for row in client.backfills()["items"] for word in (row["lane"], row["pipeline"])]
    )
    return [CompletionItem(word) for word in dict.fromkeys(found) if word.startswith(incomplete)]


def written(project: ProjectSpec) -> Iterator[tuple[str, ScheduleSpec]]:
    """(pipeline, schedule) of odibi.yaml."""
    for pipeline in project.pipelines:
        for schedule in pipeline.schedules:
            yield pipeline.name, schedule


def _written(app: App, names: Callable[[ProjectSpec], Sequence[Any]]) -> Sequence[Any]:
    from odibi_actors.cli.project import load
    from odibi_actors.errors import OdibiError

    with contextlib.suppress(OdibiError, OSError):
        return names(load(app, sql=False))
    return ()


def _running(ctx: click.Context, names: Callable[[Client], Sequence[Any]]) -> Sequence[Any]:
    from odibi_actors.errors import OdibiError

    app = ctx.ensure_object(App)
    app.timeout = PATIENCE
    with contextlib.suppress(OdibiError, OSError), ctx.scope():
        return names(app.client())
    return ()


class _Pipeline(click.types.StringParamType):
    """A text; where it is missing, those of odibi.yaml are named."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        if ctx is None:
            return None
        names = _written(ctx.ensure_object(App), lambda project: [pipeline.name for pipeline in project.pipelines])
        more = [f"and {len(names) - MANY} more"] if len(names) > MANY else []
        return f"odibi.yaml has: {', '.join([*names[:MANY], *more])}" if names else None


def pipeline_argument(required: bool = True) -> Callable[[F], F]:
    """The argument PIPELINE."""
    return click.argument("pipeline", type=_Pipeline(), required=required, shell_complete=complete_pipeline)


NAME = click.argument("name", metavar="NAME", shell_complete=complete_schedule)
"""A schedule: its name, or PIPELINE.NAME where several pipelines have one of that name."""


def _params(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, Any]:
    """``key=value`` -> key: value, the value read as in odibi.yaml (``3`` is a number, ``"3"`` a text)."""
    if not values:
        return {}
    from odibi_actors.config.problems import Problems
    from odibi_actors.config.tree import parse, plain_data

    read: dict[str, Any] = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not sign or not key.isidentifier():
            raise click.BadParameter(f"{text!r}: write KEY=VALUE, for example day=2013-01-01", ctx, param)
        if key in read:
            raise click.BadParameter(f"{key!r} is given twice", ctx, param)
        problems = Problems("")
        tree = parse(f"v: {value}\n", problems, lambda written: (written, []))
        data = plain_data(tree, key, problems) if tree is not None else None
        if problems.found and isinstance(data, dict):
            says = min(problems.found).message
            raise click.BadParameter(f"{text!r}: {says}; quote it: {key}='\"...\"'", ctx, param)
        if problems.found or not isinstance(data, dict) or set(data) != {"v"}:
            raise click.BadParameter(f"{text!r}: {value!r} is no YAML value; quote it: {key}='\"...\"'", ctx, param)
        read[key] = data["v"]
    return read


_PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[A-Za-z_][A-Za-z0-9_./-]*", re.IGNORECASE)
"""A text that is read as itself without quotes."""


def params_text(params: Mapping[str, Any]) -> str:
    """Parameters as ``--param`` takes them: ``full=true, n="3"``."""
    values = {k: v if isinstance(v, str) and _PLAIN.fullmatch(v) else json.dumps(v) for k, v in params.items()}
    return ", ".join(f"{key}={value}" for key, value in values.items())


PARAM = click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_params,
    help="A parameter for the nodes of the run; the value is read as in odibi.yaml. May be repeated.",
)
