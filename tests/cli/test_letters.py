"""Several dead letters in one command: all of them, or none, or the user is told which."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from odibi_actors.cli import deadletter
from odibi_actors.cli.pipeline import besides
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
        files = [{"source": "src", "identity": "bad.csv"}, {"source": "cust", "identity": f"{letter}.csv"}]
        return {"letter": letter, "pipeline": "delays", "iteration": 10 + letter, "files": files}

    return {f"deadletter.{verb}": answer, "sink.list": {"items": []}}


def done(broker: FakeBroker, verb: str) -> list[int]:
    return [one.params["letter"] for one in broker.requests(f"deadletter.{verb}") if not one.params["dry_run"]]


def test_given_no_position_is_to_blame_then_the_list_names_what_was_set_aside(broker: Broker, invoke: Invoke) -> None:
    rows = [{"id": 3, "position": "bad.csv", "first": "a.csv", "files": 2}, {"id": 2, "first": "a.csv", "files": 1}]
    rows.append({"id": 1, "position": "", "first": "a.csv", "files": 3})
    fake = broker({"deadletter.list": {"items": [{**row, "pipeline": "p", "state": "open"} for row in rows]}})
    listed = invoke("--endpoint", fake.endpoint, "deadletter", "list").stdout.splitlines()[1:4]
    assert ["bad.csv" in listed[0], " a.csv " in listed[1], "a.csv and 2 more" in listed[2]] == [True] * 3, listed


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


@pytest.mark.parametrize("given", [["2,3"], ["2, 3"], ["2", "3"], ["2,", "3,2"]])
@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_given_several_letters_then_blanks_and_commas_part_them(
    broker: Broker, invoke: Invoke, verb: str, given: list[str]
) -> None:
    fake = broker(answers(verb, 99))
    assert invoke("--endpoint", fake.endpoint, "deadletter", verb, "--yes", *given).exit_code == 0
    assert done(fake, verb) == [2, 3]
    for odd in ("0", "x", ",", "all,2"):
        refused = invoke("--endpoint", fake.endpoint, "deadletter", verb, odd)
        assert refused.exit_code == 2
        assert "write ids of dead letters, such as 3,4, or `all` alone" in refused.stderr


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_given_all_then_every_open_letter_is_meant_once_somebody_agrees(
    broker: Broker, invoke: Invoke, verb: str
) -> None:
    listed = [{"id": 4, "state": "open"}, {"id": 3, "state": "replaying"}]

    def page(params: dict[str, Any]) -> Any:
        if "before" in params:
            return {"items": [{"id": 2, "state": "open"}]}
        return {"items": listed, "total": 3, "next": 3}

    fake = broker({**answers(verb, 99), "deadletter.list": page})
    words = ("--endpoint", fake.endpoint, "deadletter", verb, "all", "--pipeline", "delays")
    asked = invoke(*words)
    assert (asked.exit_code, done(fake, verb)) == (2, [])  # nobody there to answer
    assert ("Take up 2 dead letters again?" if verb == "replay" else "Give up dead letters 2 (bad.csv") in asked.stderr
    assert invoke(*words, "--dry-run").exit_code == 0
    assert done(fake, verb) == []
    assert invoke(*words, "--yes").exit_code == 0
    assert done(fake, verb) == [2, 4]
    assert {one.params["pipeline"] for one in fake.requests("deadletter.list")} == {"delays"}
    for wrong in (("all", "3"), ("3", "--pipeline", "delays")):
        assert invoke("--endpoint", fake.endpoint, "deadletter", verb, *wrong, "--yes").exit_code == 2
    none = broker({**answers(verb, 99), "deadletter.list": {"items": []}})
    empty = invoke("--endpoint", none.endpoint, "deadletter", verb, "all")
    assert (empty.exit_code, "no dead letter is open" in empty.stderr) == (0, True)


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_given_a_letter_goes_on_the_way_then_it_is_told_which_were_done(
    broker: Broker, invoke: Invoke, verb: str
) -> None:
    fake = broker(answers(verb, 3, dry_too=False))
    result = invoke("--endpoint", fake.endpoint, "deadletter", verb, 4, 2, 3, *(["--yes"] if verb == "discard" else []))
    assert result.exit_code == 3
    assert "done before the error: 2; not done: 3, 4" in result.stderr
    assert done(fake, verb) == [2, 3]


def test_given_several_letters_when_only_asked_about_then_each_has_the_number_that_it_would_get(
    broker: Broker, invoke: Invoke
) -> None:
    def answer(params: dict[str, Any]) -> Any:  # each is asked about alone: the newest iteration of each pipeline is 10
        letter = params["letter"]
        known = {"letter": letter, "pipeline": "web" if letter == 2 else "delays", "iteration": 11, "files": []}
        return known | ({"iteration": 4, "note": "it is taken up already"} if letter == 4 else {})

    fake = broker({"deadletter.replay": answer, "sink.list": {"items": []}})
    result = invoke("--endpoint", fake.endpoint, "deadletter", "replay", 5, 1, 2, 3, 4, "--dry-run")
    assert [line.partition(" ")[0] + line.partition("would be")[2] for line in result.stdout.splitlines()] == [
        "1: iteration 11 of delays", "2: iteration 11 of web", "3: iteration 12 of delays",
        "4: iteration 4 of delays", "5: iteration 13 of delays",
    ]  # fmt: skip
    assert done(fake, "replay") == []


def test_given_a_letter_twice_then_it_is_discarded_once(broker: Broker, invoke: Invoke) -> None:
    fake = broker(answers("discard", 99))
    result = invoke("--endpoint", fake.endpoint, "deadletter", "discard", 5, 5, "--yes")
    assert (result.exit_code, result.stdout) == (0, "5: discarded: bad.csv of src, 5.csv of cust\n")
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
    assert result.exit_code == 2
    question = "Give up dead letter 5 (bad.csv of src, 5.csv of cust) for good (but for a rewind)?"
    assert question in result.stderr
    assert result.stderr.splitlines()[1:] == ["nothing was changed; pass --yes to go on without being asked"]
    assert done(fake, "discard") == []


@pytest.mark.parametrize(
    ("value", "shown"), [(" 3 ", '" 3 "'), ("a\nb", '"a\\nb"'), ("3\r", '"3\\r"'), ("3 x", "3 x"), ("né", "né")]
)
def test_given_a_value_with_blanks_at_its_edge_or_line_ends_when_shown_then_it_is_quoted(
    value: str, shown: str
) -> None:
    letter = {"id": 4, "pipeline": "p", "positions": {}, "value": value}
    screen = StringIO()
    for part in deadletter.details(letter):
        Console(width=200, file=screen).print(part)
    said = screen.getvalue().splitlines()
    assert [line.partition("value")[2].strip() for line in said if line.startswith("value")] == [shown]


def test_given_a_rewind_then_letters_that_open_again_or_go_and_types_that_are_learnt_again_are_named() -> None:
    letters = {"open_again": {"count": 2, "ids": [4, 7]}, "gone": {"count": 1201, "ids": [8, 9]}}
    assert besides({"letters": letters, "unpinned": ["orders", "lake"]}) == [
        ("dead letters open again", "4, 7"),
        ("dead letters that go, their files are read again", "8, 9 and 1,199 more"),
        ("learn columns and types again", "orders, lake"),
    ]
    assert besides({"state": "paused"}) == []


def test_given_a_file_that_was_read_as_a_reference_then_it_is_not_shown_as_one_of_the_letter() -> None:
    one = {"identity": "f.csv", "size": 3}
    letter = {"id": 1, "positions": {"orders": [one], "rates": [one]}, "consumed": ["orders"]}
    console = Console(file=(said := StringIO()), width=120)
    for part in deadletter.details(letter):
        console.print(part)
    assert "rates (reference)" in said.getvalue()
    assert "orders (reference)" not in said.getvalue()
