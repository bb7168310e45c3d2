"""Long lists: the options that say how much of one is wanted, the pages it comes in, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

PAGE = 1000
"""Rows that are asked for at once: as many as the store gives."""
END = frozenset({"total", "next", "at_least"})
"""What an answer says of the rows that are not in it."""
F = TypeVar("F", bound=Callable[..., Any])


def limited(default: int = 20, least: int = 1, what: str = "So many, newest first.") -> Callable[[F], F]:
    """``--limit`` and ``--all``: the command gets ``limit``, None for all."""

    def everything(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            ctx.params["limit"] = None

    def apply(command: F) -> F:
        one = click.option("-n", "--limit", type=click.IntRange(least), default=default, show_default=True, help=what)
        # after --limit, whatever the order on the line: not eager, and declared behind it
        both = click.option("--all", "all_", is_flag=True, expose_value=False, callback=everything, help="All of them.")
        return one(both(command))

    return apply


def pages(ask: Callable[[int, int | None], Mapping[str, Any]], limit: int | None) -> dict[str, Any]:
    """A list as long as it is wanted. ``ask``: gives at most so many rows, from a place on that an answer before has
    said as ``next``."""
    first = dict(ask(PAGE if limit is None else min(limit, PAGE), None))
    items, last = list(first["items"]), first
    while (after := last.get("next")) is not None and (limit is None or len(items) < limit):
        last = dict(ask(PAGE if limit is None else min(limit - len(items), PAGE), after))
        items += last["items"]
    end = {name: value for name, value in last.items() if name in END}
    whole = {name: value for name, value in first.items() if name not in END}
    return {**whole, "items": items, **end}


def rest(result: Mapping[str, Any]) -> str:
    """What is said of a list that is longer than what is shown; "" where nothing is left out."""
    shown = len(result.get("items") or ())
    if isinstance(more := result.get("more"), int) and more:  # schedules: as many as a message holds
        return ends(shown, shown + more, "name a pipeline to see its own")
    total, at_least = result.get("total") or 0, bool(result.get("at_least"))
    return ends(shown, total, "--limit N or --all shows the others", at_least=at_least) if total > shown else ""


def ends(shown: int, total: int, how: str, *, at_least: bool = False) -> str:
    """``20 of 431; --limit N or --all shows the others``."""
    return f"{shown:,} of {total:,}{' or more' if at_least else ''}; {how}"
