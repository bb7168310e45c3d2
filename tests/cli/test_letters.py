"""Several dead letters in one command: all of them, or none, or the user is told which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from odibi_actors.messages import Reply
from tests.cli.fake import FakeBroker

Broker = Callable[..., FakeBroker]
Invoke = Callable[..., Result]


def answers(verb: str, refused: int, dry_too: bool = True) -> dict[str, Any]:
    """A broker without letter ``refused``; if not ``dry_too``, it goes between the question and the deed."""

    def answer(params: dict[str, Any]) -> Any:
        letter = params["letter"]
        if letter == refused and (dry_too or not params["dry_run"]):
            return Reply("", 3, None, f"there is no dead letter {letter}")
        return {"letter": letter, "pipeline": "delays", "iteration": 10 + letter}

    return {f"deadletter.{verb}": answer, "sink.list": {"items": []}}


def done(broker: FakeBroker, verb: str) -> list[int]:
    return [one.params["letter"] for one in broker.requests(f"deadletter.{verb}") if not one.params["dry_run"]]


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_given_one_of_several_letters_is_unknown_then_none_is_touched(
    broker: Broker, invoke: Invoke, verb: str
) -> None:
    fake = broker(answers(verb, 99))
    result = invoke(
        "--endpoint", fake.endpoint, "deadletter", verb, 2, 3, 99, *(["--yes"] if verb == "discard" else [])
    )
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "error: there is no dead letter 99\n"
    assert done(fake, verb) == []


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_given_a_letter_goes_on_the_way_then_it_is_told_which_were_done(
    broker: Broker, invoke: Invoke, verb: str
) -> None:
    fake = broker(answers(verb, 3, dry_too=False))
    result = invoke("--endpoint", fake.endpoint, "deadletter", verb, 4, 2, 3, *(["--yes"] if verb == "discard" else []))
    assert result.exit_code == 3
    assert "done before the error: 2; not done: 3, 4" in result.stderr
    assert done(fake, verb) == [2, 3]


def test_given_a_letter_twice_then_it_is_discarded_once(broker: Broker, invoke: Invoke) -> None:
    fake = broker(answers("discard", 99))
    result = invoke("--endpoint", fake.endpoint, "deadletter", "discard", 5, 5, "--yes")
    assert (result.exit_code, result.stdout) == (0, "5: discarded\n")
    assert done(fake, "discard") == [5]


def test_given_files_set_aside_before_the_iteration_then_they_are_the_ones_besides_its_own(
    broker: Broker, invoke: Invoke
) -> None:
    ended = {"pipeline": "delays", "iteration": 5, "state": "dead_lettered", "files": 2, "ended": {"dead_lettered": 1}}
    fake = broker({"iteration.wait": ended, "pipeline.show": {}})
    result = invoke("--endpoint", fake.endpoint, "iteration", "wait", "delays", 5)
    assert (result.exit_code, result.stdout) == (5, "delays 5: dead_lettered, 2 more files set aside\n")


def test_given_nobody_answers_a_question_then_one_line_says_what_to_do(broker: Broker, invoke: Invoke) -> None:
    fake = broker(answers("discard", 99))
    result = invoke("--endpoint", fake.endpoint, "deadletter", "discard", 5)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1:] == ["nothing was changed; pass --yes to go on without being asked"]
    assert done(fake, "discard") == []
