"""Formats of ``timestamp_parsers``: those whose value C's strptime throws away, or makes up, are refused beforehand."""

from __future__ import annotations

from datetime import datetime
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from odibi_actors.config.load import load_project
from odibi_actors.errors import ConfigError
from odibi_actors.nodes.formats.cells import Cells
from odibi_actors.nodes.formats.strptime import problem

REFUSED = {
    "%Y-%m-%d %H:%M %Z": "the name of a time zone is passed over",
    "%G-W%V-%u": "weeks and their years are passed over",
    "%Y-%W": "weeks and their years are passed over",
    "%g-%U-%w": "weeks and their years are passed over",
    "%s": "seconds are read in the time zone of the machine",
    "%C %m %d": "a century is no year",
    "%Y-%m-%dT%H:%M:%S.%f": "fractions of a second are read in ISO 8601 only",
    "%d/%m %H:%M": "names no year",
    "%Y %d": "names a day without its month",
    "%F %j": "names the day twice",
    "%Y-%m-%d %Y": "names %Y (or what tells the same) twice",
    "%F %H:%M %p": "%p (AM, PM) counts only with %I",
    "%F %I:%M": "%I is an hour of twelve without %p",
    "%d.%m.%EY": "with %E, which strptime does not know",
    "%Od.%m.%Y": "with %O, which strptime does not know",
    "%Y %j %a": "%j is passed over beside the day of the week",
    "%F %Q": "with %Q, which strptime does not know",
    "%F %": "with %, which strptime does not know",
}
DAYS = ("%Y-%m-%d", "%d/%m/%y", "%e %B %Y", "%b %-d, %Y", "%Y %j", "%d.%m.%Y", "%D", "%F", "%x", "%a %d%h%Y")
TIMES = ("", " %H:%M:%S", " %I:%M:%S %p", " %T", "T%R", " %k:%M", " %r", "%n%l%p %%", " %u", " %X")
MOMENTS = [datetime(1971, 1, 1), datetime(1999, 12, 31, 23, 59, 59), datetime(2024, 2, 29, 12, 30)]


@pytest.mark.parametrize("form", REFUSED)
@pytest.mark.parametrize("format", ["csv", "json"])
def test_given_a_format_that_tells_no_moment_when_validated_then_it_is_refused_by_name(
    tmp_path: Path, format: str, form: str
) -> None:
    (tmp_path / "odibi.yaml").write_text(
        f"""project: demo
connections: {{here: {{type: local, path: data}}}}
pipelines:
  - pipeline: p
    nodes:
      - name: a
        read:
          connection: here
          format: {format}
          mode: file_watch
          pattern: "*.txt"
          options: {{timestamp_parsers: ["%d.%m.%Y", "{form}"]}}
      - {{name: w, inputs: [a], write: {{connection: here, path: out, format: parquet}}}}
"""
    )
    with pytest.raises(ConfigError) as caught:
        load_project(tmp_path / "odibi.yaml")
    assert all(part in str(caught.value) for part in (repr(form), REFUSED[form], "odibi.yaml:12")), str(caught.value)


@pytest.mark.parametrize(("day", "time"), list(product(DAYS, TIMES)))
def test_given_a_format_that_tells_a_moment_when_read_then_it_is_that_of_the_text(day: str, time: str) -> None:
    form = day + time
    if problem(form):
        return
    for moment in MOMENTS:
        value = pa.chunked_array([pa.array([moment], pa.timestamp("s"))])
        (text,) = pc.strftime(value, format=form.replace("%-d", "%d").replace("%k", "%H").replace("%l", "%I"))
        read = Cells({"timestamp_parsers": [form]}).lenient(pa.chunked_array([[text.as_py()]]), pa.timestamp("s"))
        (again,) = pc.strftime(read, format=form.replace("%-d", "%d").replace("%k", "%H").replace("%l", "%I"))
        assert again.as_py() == text.as_py()
        assert read[0].as_py().date() == moment.date()
