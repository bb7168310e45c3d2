"""``Tracker``: each step has its own times and snapshots, also where several run at once, and people can read them."""

from __future__ import annotations

import json
import logging
import threading
from datetime import datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from odibi_actors.core import DAGBuilder, Step, Tracker, create_engine_context

CONTEXT = create_engine_context("pandas")


def tracked(tracker: Tracker, name: str, before: pd.DataFrame, after: pd.DataFrame) -> None:
    tracker.start_step(name, "transform")
    tracker.snapshot("before", before, CONTEXT)
    tracker.snapshot("after", after, CONTEXT)
    tracker.end_step(name, "success")


def test_given_a_step_then_what_it_changed_is_told() -> None:
    tracker = Tracker()
    tracker.start_pipeline("sales")
    before = pd.DataFrame({"a": [1, 2, 3], "gone": ["x", "y", "z"]})
    tracked(tracker, "clean", before, pd.DataFrame({"a": [1.0, 2.5], "new": [True, False]}))
    (execution,) = tracker.executions
    assert execution.state == "success"
    assert execution.row_delta == -1
    assert execution.schema_diff == {
        "added_columns": ["new"],
        "removed_columns": ["gone"],
        "changed_types": [{"column": "a", "before": "int64", "after": "float64"}],
    }
    assert execution.after_snapshot is not None
    assert execution.after_snapshot.sample_data == [{"a": 1.0, "new": True}, {"a": 2.5, "new": False}]
    assert tracker.get_stats()["success_rate"] == 100.0
    assert "success  clean (transform)" in tracker.get_summary()
    assert "-1 rows" in tracker.get_summary()


def test_given_steps_of_several_threads_at_once_then_none_has_the_others_snapshots() -> None:
    tracker, together = Tracker(), threading.Barrier(4)

    def work(rows: int) -> None:
        frame = pd.DataFrame({f"of_{rows}": range(rows)})
        tracker.start_step(f"step_{rows}", "transform")
        together.wait()
        tracker.snapshot("before", frame, CONTEXT)
        together.wait()
        tracker.snapshot("after", frame.head(1), CONTEXT)
        together.wait()
        tracker.end_step(f"step_{rows}", "success")

    threads = [threading.Thread(target=work, args=(rows,)) for rows in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {one.step_name: one for one in tracker.executions}
    for rows in (1, 2, 3, 4):
        one = found[f"step_{rows}"]
        assert one.before_snapshot is not None
        assert one.before_snapshot.schema[0][0] == f"of_{rows}"
        assert (one.before_snapshot.row_count, one.row_delta, one.state) == (rows, 1 - rows, "success")


def test_given_values_that_json_lacks_then_the_file_is_json_all_the_same(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path / "logs")
    odd = pd.DataFrame(
        {
            "when": [pd.Timestamp("2025-01-15 10:00"), pd.NaT],
            "price": [Decimal("1.10"), None],
            "size": [float("inf"), float("nan")],
            "raw": [b"\xff", ["a", 1]],
        }
    )
    tracked(tracker, "read", odd, odd.rename(columns={"raw": "when"}))  # two columns of one name
    path = tracker.save()
    steps = json.loads(Path(path).read_text())["steps"]
    assert Path(path).parent == tmp_path / "logs"
    assert steps[0]["before_snapshot"]["sample_data"] == [
        {"when": "2025-01-15T10:00:00", "price": "1.10", "size": "inf", "raw": "b'\\xff'"},
        {"when": None, "price": None, "size": None, "raw": ["a", 1]},
    ]
    assert datetime.fromisoformat(steps[0]["end_time"]).tzinfo is not None
    assert tracker.save(tmp_path / "here.json") == str(tmp_path / "here.json")


def test_given_a_stream_without_end_then_the_newest_stay_and_all_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = Tracker(keep=3)
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        for number in range(10):
            tracker.start_step(f"s{number}", "store")
            tracker.end_step(f"s{number}", "failed" if number % 2 else "success", "no disk" if number % 2 else None)
    assert [one.step_name for one in tracker.executions] == ["s7", "s8", "s9"]
    assert (tracker.get_stats()["total_steps"], tracker.get_stats()["success_rate"]) == (10, 50.0)
    assert tracker.export_lineage()["left_out"] == 7
    assert caplog.text.count("older ones are left out") == 1


def test_given_what_belongs_to_no_step_then_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker()
    with caplog.at_level(logging.WARNING, "odibi_actors.core"):
        tracker.snapshot("after", pd.DataFrame(), CONTEXT)
        tracker.end_step("ghost", "success")
    assert not tracker.executions
    assert "no step is under way in this thread" in caplog.text
    assert "step ghost has ended, which had not begun" in caplog.text


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_given_hostile_names_then_the_story_shows_them_and_does_nothing(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    tracker = Tracker()
    tracker.start_pipeline(f"p{bad}")
    tracked(tracker, f"s{bad}", pd.DataFrame({"a": [1]}), pd.DataFrame({f"c{bad}": [f"v{bad}"]}))
    tracker.start_step("fails", f"l{bad}")
    tracker.end_step("fails", "failed", f"e{bad}")
    builder = DAGBuilder([Step("ingest", f"s{bad}", value="x.csv", outputs={"data": "a"})])
    path = tracker.export_to_story(tmp_path / "stories", {f"s{bad}": f"why{bad}"}, builder)
    page = Tags(Path(path).read_text(encoding="utf-8"))
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert not page.attributes & {"src", "href", "onerror"}
    for sign in ("p", "s", "c", "v", "l", "e", "why"):
        assert f"{sign}{bad}" in page.text
