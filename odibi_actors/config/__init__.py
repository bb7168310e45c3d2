"""The project file: reading, checking, describing it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from odibi_actors.config.digest import code_digest
    from odibi_actors.config.keys import config_schema, write_schema
    from odibi_actors.config.load import load_project
    from odibi_actors.config.problems import Problem
    from odibi_actors.config.project import init_project

__all__ = ["Problem", "code_digest", "config_schema", "init_project", "load_project", "write_schema"]

_HOMES = {
    "Problem": "problems",
    "code_digest": "digest",
    "config_schema": "keys",
    "init_project": "project",
    "load_project": "load",
    "write_schema": "keys",
}


def __getattr__(name: str) -> Any:
    """Loads a name from its module when first used: every process imports ``config.model`` with its messages, and only
    few of them ever read a project file."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
