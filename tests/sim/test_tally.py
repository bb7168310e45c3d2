"""A soak is taken up where it was left, and says of which commit it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from odibi_actors.sim import __main__ as simulate
from odibi_actors.sim.coverage import KINDS, Coverage, Lived
from odibi_actors.sim.tally import Tally, chunk, commit
from odibi_actors.sim.verbs import VERBS


def test_given_lives_that_are_recorded_when_more_are_wanted_then_only_those_are_lived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate, "CHUNK", 2)
    record = tmp_path / "lives.jsonl"
    assert simulate.search(0, 4, 0.0, 1, record=record) == 0
    assert [json.loads(line)[:2] for line in record.read_text().splitlines()] == [[0, 2], [2, 2]]
    lived: list[int] = []
    real = simulate.run_seed
    monkeypatch.setattr(simulate, "run_seed", lambda seed, course: lived.append(seed) or real(seed, course=course))
    assert simulate.search(0, 6, 0.0, 1, record=record) == 0
    assert lived == [4, 5]
    said = capsys.readouterr().out
    assert "6 lives: 0 violations" in said
    assert f"commits:     {commit() or 'unknown'} 6" in said
    assert simulate.search(0, 8, 0.0, 1, record=record, seconds=0.0) == 0
    assert Tally(record).lived == 6  # it was over before it began


def test_given_a_life_that_broke_when_it_is_recorded_then_it_is_still_told(tmp_path: Path) -> None:
    record = tmp_path / "lives.jsonl"
    tally = Tally(record)
    tally.add(chunk([(7, None, "I1: twice")], "abc"))
    assert Tally(record).broken == [(7, "I1: twice")]
    assert Tally(record).report(0.0, 1)[:2] == ["1 lives: 1 violations; 0 iterations", "commits:     abc 1"]


def test_given_a_record_then_its_table_says_how_often_each_verb_was_done_and_of_which_commits(tmp_path: Path) -> None:
    record = tmp_path / "pairs.jsonl"
    coverage = Coverage(KINDS["pairs"], record)
    first, other = KINDS["pairs"].courses[:2]
    coverage.add(Lived(first, 10, {"accepted": 21, "refused": 3}, {"pause, accepted": 42}, [], "abc"))
    coverage.add(Lived(other, 10, {"refused": 5}, {"resume, refused": 5}, [], "def"))
    table = Coverage(KINDS["pairs"], record).markdown(20)
    assert "20 lives (by commit: abc 10, def 10), 0 violations" in table
    assert "accepted 20 times or more in 1, less often in 0, never in 1" in table
    assert "| pause | - | 42 | 0 | 0 |" in table
    assert f"Never both accepted: {other}" in table
    blocks = [block.splitlines() for block in table.split("```")[1::2]]
    rows = [next(line.split() for line in block if line.startswith("pause ")) for block in blocks]
    assert [row[1:3] for row in rows] == [["21", "0"], ["3", "5"]]
    assert all(f"| {verb} |" in table for verb in VERBS)
