"""The project file: reading, checking, describing it."""

from __future__ import annotations

from odibi_actors.config.digest import code_digest
from odibi_actors.config.keys import config_schema, write_schema
from odibi_actors.config.load import PROJECT_FILE, load_project
from odibi_actors.config.problems import Problem

__all__ = ["PROJECT_FILE", "Problem", "code_digest", "config_schema", "load_project", "write_schema"]
