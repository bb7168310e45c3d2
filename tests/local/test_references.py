"""A contract: whatever is wrong with a reference, no iteration runs without it, and no row is lost or doubled.

Each kind of failure, with each ``on_error``, in ``odibictl run`` and in a system that goes on by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from odibi_actors.config import load_project
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import OdibiError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.messages import STORE
from odibi_actors.sources.file_position import file_times

YAML = """\
project: refs
connections:
  landing: {{type: local, path: data/landing}}
  ref: {{type: local, path: data/ref}}
  lake: {{type: local, path: data/lake}}
pipelines:
  - pipeline: p
    on_error: {on_error}
    retry: {{max_attempts: 1}}
    nodes:
      - {{name: src, read: {{connection: landing, format: csv, mode: file_watch, pattern: "*.csv", settle: 100ms}}}}
      - {{name: cust, read: {{connection: ref, format: csv, mode: {mode}, pattern: "*.csv", settle: 100ms}}}}
      - name: j
        inputs: [src, cust]
        transform: {{sql: "select s.id, c.country from src s left join cust c on s.cust = c.id"}}
      - {{name: out, inputs: [j], write: {{connection: lake, path: t, format: parquet}}}}
"""
GOOD = "id,country\n1,de\n2,fr\n"


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").rename(path)


def malformed(ref: Path) -> None:
    written(ref / "cust.csv", GOOD + "3,es,oops\n")


def of_another_type(ref: Path) -> None:
    written(ref / "cust.csv", GOOD + "three,es\n")


def of_other_columns(ref: Path) -> None:
    written(ref / "cust.csv", "key,land\n1,de\n2,fr\n")


def empty(ref: Path) -> None:
    written(ref / "cust.csv", "")


def no_text(ref: Path) -> None:
    written(ref / "cust.csv", "\0\0\0\0")


def one_of_two(ref: Path) -> None:
    written(ref / "more.csv", "id,country\n3,es,oops\n")


BROKEN: list[Callable[[Path], None]] = [malformed, of_another_type, of_other_columns, empty, no_text, one_of_two]


@pytest.fixture(params=["halt", "dead_letter"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> ProjectSpec:
    (tmp_path / "odibi.yaml").write_text(YAML.format(on_error=request.param, mode="batch"))
    written(tmp_path / "data/landing/a.csv", "id,cust\n1,1\n")
    written(tmp_path / "data/ref/cust.csv", GOOD)
    return load_project(tmp_path)


def rows(project: ProjectSpec) -> list[tuple[int, str | None]]:
    found = []
    for part in sorted((Path(project.root) / "data/lake/t").glob("part-*.parquet")):
        found += [(row["id"], row["country"]) for row in pq.read_table(part).to_pylist()]
    return sorted(found)


def until(system: LocalSystem, true: Callable[[], bool], what: str) -> None:
    end = system.clock() + 20.0
    while not true():
        system.runtime.step()
        assert system.clock() < end, f"not within 20 s: {what}"
        system.runtime.wait(0.05)


def state(system: LocalSystem) -> dict[int, str]:
    try:
        listed = system.request("iteration.list", {"pipeline": "p"}, to=STORE)["items"]
    except OdibiError:
        return {}  # it has not been applied yet
    return {row["iteration"]: row["state"] for row in listed}


def offered(system: LocalSystem, ref: Path) -> bool:
    """The broker knows the reference as it is now."""
    flow = system.coordinator.flow
    assert flow is not None
    known = {(p.identity, file_times(p.detail).mtime_ns) for p in flow.pipelines["p"].sources["cust"].pending}
    return known == {(path.name, path.stat().st_mtime_ns) for path in ref.glob("*.csv")}


def letters(system: LocalSystem) -> list[dict[str, Any]]:
    return list(system.request("deadletter.list", {"pipeline": "p"}, to=STORE)["items"])


@pytest.mark.parametrize("breaks", BROKEN)
def test_given_a_reference_that_cannot_be_read_when_run_then_the_run_fails_and_the_next_brings_all_rows(
    project: ProjectSpec, breaks: Callable[[Path], None]
) -> None:
    root, ref = Path(project.root), Path(project.root) / "data/ref"
    assert run_pipeline(project, "p").committed == 1
    breaks(ref)
    written(root / "data/landing/b.csv", "id,cust\n2,2\n")
    failed = run_pipeline(project, "p")
    assert (failed.state, failed.failed, failed.committed, failed.dead_lettered) == ("failed", 1, 0, 0)
    assert "Every iteration reads all of cust" in failed.error
    assert "then `odibictl run p`" in failed.error
    assert rows(project) == [(1, "de")]
    again = run_pipeline(project, "p")  # still broken: still halted, nothing set aside one by one
    assert (again.state, again.committed, again.dead_lettered) == ("failed", 0, 0)
    written(root / "data/landing/c.csv", "id,cust\n3,1\n")
    (ref / "more.csv").unlink(missing_ok=True)
    written(ref / "cust.csv", GOOD)
    healed = run_pipeline(project, "p")
    assert (healed.failed, healed.dead_lettered, healed.error) == (0, 0, "")
    run_pipeline(project, "p")
    assert rows(project) == [(1, "de"), (2, "fr"), (3, "de")]


@pytest.mark.parametrize("breaks", BROKEN)
def test_given_a_reference_that_cannot_be_read_when_up_then_all_waits_and_a_retry_brings_all_rows(
    project: ProjectSpec, breaks: Callable[[Path], None]
) -> None:
    root, ref = Path(project.root), Path(project.root) / "data/ref"
    with LocalSystem(project, manual=False) as system:
        until(system, lambda: state(system) == {1: "committed"}, "the first")
        breaks(ref)
        until(system, lambda: offered(system, ref), "the offer of the new reference")
        written(root / "data/landing/b.csv", "id,cust\n2,2\n")
        until(system, lambda: state(system).get(2) == "failed", "the failure")
        written(root / "data/landing/c.csv", "id,cust\n3,1\n")
        (row,) = system.request("pipeline.list")["items"]
        assert any("`odibictl iteration retry p 2`" in problem for problem in row["problems"])
        assert letters(system) == []
        assert rows(project) == [(1, "de")]
        (ref / "more.csv").unlink(missing_ok=True)
        written(ref / "cust.csv", GOOD)
        system.request("iteration.retry", {"pipeline": "p", "iteration": 2})
        until(system, lambda: len(rows(project)) == 3, "all rows")
        until(system, lambda: set(state(system).values()) <= {"committed", "cancelled"}, "the end")
        assert letters(system) == []
    assert rows(project) == [(1, "de"), (2, "fr"), (3, "de")]


def test_given_a_reference_that_vanished_when_up_then_nothing_is_planned_until_it_is_back_and_that_is_told(
    project: ProjectSpec,
) -> None:
    root, ref = Path(project.root), Path(project.root) / "data/ref"
    with LocalSystem(project, manual=False) as system:
        until(system, lambda: state(system) == {1: "committed"}, "the first")
        (ref / "cust.csv").unlink()
        until(system, lambda: not system.source.sources["p/cust"].files.known, "the source sees it")
        written(root / "data/landing/b.csv", "id,cust\n2,2\n")
        until(system, lambda: system.request("pipeline.list")["items"][0]["offered"] == 1, "the offer")
        (row,) = system.request("pipeline.list")["items"]
        assert row["problems"] == ["source cust: no file matches yet"]
        written(ref / "cust.csv", GOOD)
        until(system, lambda: len(rows(project)) == 2, "all rows")
    assert rows(project) == [(1, "de"), (2, "fr")]


def test_given_a_reference_that_vanished_when_run_then_the_run_says_so_and_the_next_brings_all(
    project: ProjectSpec,
) -> None:
    root, ref = Path(project.root), Path(project.root) / "data/ref"
    run_pipeline(project, "p")
    (ref / "cust.csv").unlink()
    written(root / "data/landing/b.csv", "id,cust\n2,2\n")
    summary = run_pipeline(project, "p")
    assert (summary.committed, rows(project)) == (0, [(1, "de")])
    written(ref / "cust.csv", GOOD)
    assert run_pipeline(project, "p").committed == 1
    assert rows(project) == [(1, "de"), (2, "fr")]


def test_given_a_reference_that_is_being_written_when_files_come_then_they_wait_for_it(project: ProjectSpec) -> None:
    root, ref = Path(project.root), Path(project.root) / "data/ref"
    with LocalSystem(project, manual=False) as system:
        until(system, lambda: state(system) == {1: "committed"}, "the first")
        with (ref / "cust.csv").open("w") as file:
            file.write("id,country\n1,d")
            file.flush()
            os.utime(ref / "cust.csv", (1, 1))
            until(system, lambda: not system.source.sources["p/cust"].files.all_ready(), "the source sees it")
            written(root / "data/landing/b.csv", "id,cust\n2,2\n")
            for _ in range(20):
                system.runtime.step()
                system.runtime.wait(0.05)
            assert state(system) == {1: "committed"}
            file.write("k\n2,es\n")
        until(system, lambda: len(rows(project)) == 2, "all rows")
    assert rows(project) == [(1, "de"), (2, "es")]


def test_given_a_reference_rewritten_in_place_with_its_former_times_when_files_come_then_it_is_read_as_it_is(
    project: ProjectSpec,
) -> None:
    root, ref = Path(project.root), Path(project.root) / "data/ref"
    with LocalSystem(project, manual=False) as system:
        until(system, lambda: state(system) == {1: "committed"}, "the first")
        seen = (ref / "cust.csv").stat()
        (ref / "cust.csv").write_text(GOOD.replace("fr", "es"))
        os.utime(ref / "cust.csv", ns=(seen.st_atime_ns, seen.st_mtime_ns))
        written(root / "data/landing/b.csv", "id,cust\n2,2\n")
        until(system, lambda: len(rows(project)) == 2, "all rows")
        assert len(state(system)) <= 4
    assert rows(project) == [(1, "de"), (2, "es")]


def test_given_two_sources_that_consume_when_the_only_file_of_one_is_malformed_then_a_replay_joins_what_came_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odibi.yaml").write_text(YAML.format(on_error="dead_letter", mode="file_watch"))
    project = load_project(tmp_path)
    ref = tmp_path / "data/ref"
    written(tmp_path / "data/landing/a.csv", "id,cust\n1,1\n")
    written(ref / "a.csv", GOOD)
    run_pipeline(project, "p")
    written(ref / "b.csv", "id,country\n5,oops,x\n")
    written(tmp_path / "data/landing/b.csv", "id,cust\n2,5\n")
    summary = run_pipeline(project, "p")
    assert (summary.committed, summary.dead_lettered) == (0, 1)
    assert "; set aside with it, as they were to be read together: b.csv" in capfd.readouterr().err
    assert rows(project) == [(1, "de")]
    with LocalSystem(project) as system:
        (letter,) = letters(system)
        assert (letter["position"], letter["files"]) == ("b.csv", 2)
        given_up = system.request("deadletter.discard", {"letter": letter["id"], "dry_run": True})
        assert [(one["source"], one["identity"]) for one in given_up["files"]] == [("cust", "b.csv"), ("src", "b.csv")]
        (ref / "b.csv").rename(ref / "b")
        with pytest.raises(
            OdibiError, match=r"put it back, corrected or without its rows .* gives up its rows and the 1 f"
        ):
            system.request("deadletter.replay", {"letter": letter["id"]})
        shown = system.request("deadletter.show", {"id": letter["id"]}, to=STORE)
        assert {name: [p["identity"] for p in some] for name, some in shown["positions"].items()} == {
            "src": ["b.csv"],
            "cust": ["b.csv"],
        }
        (ref / "b.csv").write_text("id,country\n5,it\n")
        system.request("deadletter.replay", {"letter": letter["id"]})
        until(system, lambda: len(rows(project)) == 2, "the replay")
        with pytest.raises(OdibiError):
            system.request("deadletter.show", {"id": letter["id"]}, to=STORE)
    assert rows(project) == [(1, "de"), (2, "it")]
