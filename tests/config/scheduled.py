"""The valid project with pipelines that run by schedules."""

from __future__ import annotations

from tests.config.conftest import VALID

NODES = """\
    nodes:
      - name: flights
        read: {{connection: landing, format: csv, mode: batch}}
      - name: out
        inputs: [flights]
        write: {{connection: lake, path: {name}, format: parquet}}
"""
AT = "odibi.yaml:29:9: pipelines[1].schedules[0]"
"""Where the schedule of :func:`with_schedule` begins."""


def pipeline(name: str, *schedules: str, trigger: str = "schedule", more: str = "") -> str:
    """A pipeline whose only source is ``batch``, with these schedules, one a line."""
    listed = "".join(f"      - {one}\n" for one in schedules)
    listed = f"    schedules:\n{listed}" if schedules else ""
    return f"  - pipeline: {name}\n    trigger: {trigger}\n{listed}{NODES.format(name=name)}{more}"


def with_schedule(text: str) -> str:
    """The valid project and a pipeline ``report`` with this one schedule, on line 29."""
    return VALID + pipeline("report", text)
