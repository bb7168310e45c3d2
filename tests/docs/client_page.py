"""The verbs of ``Client`` for docs/client.md: signatures and docstrings, as the code has them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from odibi_actors.client import Client
from odibi_actors.client_verbs import ScheduleVerbs


class Bare(str):
    """An annotation as it is written in the code, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def client() -> str:
    """How it is made, then its methods, as they stand in the code."""
    parts = [_part("Client", Client.__init__, Client)]
    for owner in (Client, ScheduleVerbs):
        for name, method in vars(owner).items():
            if name.startswith("_") or (owner is ScheduleVerbs and name in vars(Client)):
                continue
            if isinstance(method, property):
                parts.append(f"### {name}\n\n{_said(method)}\n")
            elif inspect.isfunction(method):
                parts.append(_part(name, method, method))
    return "\n".join(parts).rstrip()


def _part(name: str, method: Callable[..., Any], owner: object) -> str:
    return f"### {name}\n\n```text\n{name}{_call(method)}\n```\n\n{_said(owner)}\n"


def _call(method: Callable[..., Any]) -> str:
    signature = inspect.signature(method)
    given = [one for one in signature.parameters.values() if one.name != "self"]
    returned = _bare(signature.return_annotation)
    return str(
        signature.replace(
            parameters=[one.replace(annotation=_bare(one.annotation)) for one in given],
            return_annotation=signature.empty if returned == "None" else returned,
        )
    )


def _bare(annotation: str) -> Bare:
    return Bare(re.sub(r"\bRow\b", "dict[str, Any]", annotation))


def _said(owner: object) -> str:
    text = inspect.getdoc(owner)
    assert text, f"{owner} has no docstring"
    return text.replace("``", "`")
