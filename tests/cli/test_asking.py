"""Verbs that ask before they change something: whoever cannot answer is told once what to do, and nothing is done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from odibi_actors.cli.__main__ import odibictl
from tests.cli.fake import FakeBroker

SCHEDULE = {
    **{"pipeline": "p", "schedule": "s", "origin": "cli", "waiting": 0, "kind": "cron", "when": "", "state": "active"},
    **{"skipped": 0, "overlap": "skip"},
}
REWIND = {"pipeline": "p", "to": 0, "states": {"committed": 1}, "files": 1, "retractions": []}
ASKING: dict[tuple[str, ...], dict[str, Any]] = {
    ("deadletter", "discard", "1"): {"deadletter.discard": {"letter": 1, "pipeline": "p", "iteration": 1, "files": []}},
    ("iteration", "cancel", "p", "1"): {"pipeline.show": {"iterations": [{"iteration": 1, "state": "failed"}]}},
    ("iteration", "abandon", "p", "1", "--sink", "s"): {"iteration.abandon": {"iteration": 1}},
    ("worker", "kill", "w"): {"worker.list": {"items": [{"worker": "w", "pid": 7}]}},
    ("schedule", "remove", "p.s"): {"schedule.show": SCHEDULE},
    ("pipeline", "rewind", "p", "--to", "0"): {"pipeline.rewind": REWIND},
    ("backfill", "cancel", "p", "backfill-1"): {
        "backfill.list": {"items": [{"pipeline": "p", "lane": "backfill-1", "state": "active", "planned": 1}]}
    },
}


@pytest.mark.parametrize("args", ASKING)
def test_given_nobody_who_could_answer_when_a_verb_asks_then_one_line_says_what_to_do(
    broker: Callable[..., FakeBroker], invoke: Callable[..., Result], args: tuple[str, ...]
) -> None:
    fake = broker(ASKING[args])
    result = invoke("--endpoint", fake.endpoint, *args)
    assert result.exit_code == 2
    question, *said = result.stderr.splitlines()
    assert question.endswith("? [y/N]: ")
    assert said == ["nothing was changed; pass --yes to go on without being asked"]
    dry = [one.params.get("dry_run") for _, one in fake.seen if getattr(one, "verb", "") == f"{args[0]}.{args[1]}"]
    assert all(dry)


BACKFILL = {"pipeline": "p", "lane": "backfill-1", "state": "done", "planned": 1}
OPEN = [{"iteration": 1, "state": "failed", "lane": "live"}, {"iteration": 2, "state": "prepared", "lane": "live"}]
REFUSED: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (("worker", "kill", "nosuch"), ASKING["worker", "kill", "w"], "no worker 'nosuch'; see `odibictl worker list`"),
    (
        ("iteration", "cancel", "p", "1"),
        {"pipeline.show": {"iterations": []}, "iteration.show": {"iteration": 1, "state": "committed"}},
        "iteration 1 of p is committed: there is nothing to cancel",
    ),
    (
        ("iteration", "cancel", "p", "1"),
        {"pipeline.show": {"iterations": OPEN}},
        "iteration 2 of p is prepared: it only rolls forward now",
    ),
    (
        ("pipeline", "rewind", "p", "--to", "0"),
        {"pipeline.rewind": {**REWIND, "refused": "pipeline p is active: drain it first"}},
        "pipeline p is active: drain it first",
    ),
    (
        ("backfill", "cancel", "p", "backfill-1"),
        {"backfill.list": {"items": [BACKFILL]}},
        "backfill-1 of p has ended: done; there is nothing to cancel",
    ),
    (("schedule", "remove", "p.s"), {"schedule.show": {**SCHEDULE, "origin": "yaml"}}, "p.s is in odibi.yaml"),
]


@pytest.mark.parametrize(("args", "answers", "says"), REFUSED)
def test_given_what_would_be_refused_then_nobody_is_asked(
    broker: Callable[..., FakeBroker],
    invoke: Callable[..., Result],
    args: tuple[str, ...],
    answers: dict[str, Any],
    says: str,
) -> None:
    fake = broker(answers)
    result = invoke("--endpoint", fake.endpoint, *args, input="y\n")
    assert result.exit_code in (3, 4), result.stderr
    assert says in result.stderr
    assert "[y/N]" not in result.stderr
    if "--to" not in args:
        assert fake.requests(f"{args[0]}.{args[1]}") == []


def test_given_the_verbs_that_ask_then_all_are_tried_here_or_need_no_broker() -> None:
    with_yes = {
        (noun, verb)
        for noun, group in odibictl.commands.items()
        for verb, command in getattr(group, "commands", {}).items()
        if any("--yes" in param.opts for param in command.params)
    }
    others = {
        ("checkpoint", "reseal"),
        ("deadletter", "replay"),
        ("pipeline", "backfill"),
        ("sink", "repin"),
        ("sink", "adopt"),
        ("sink", "compact"),
    }
    assert with_yes - others == {args[:2] for args in ASKING}


def test_given_a_no_from_a_pipe_then_what_is_said_begins_a_line(broker: Callable[..., FakeBroker]) -> None:
    fake = broker(ASKING["worker", "kill", "w"])
    argv = [sys.executable, "-m", "odibi_actors.cli", "--endpoint", fake.endpoint, "worker", "kill", "w"]
    done = subprocess.run(argv, input="n\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[1:]) == (1, ["nothing was changed"]), done.stderr
