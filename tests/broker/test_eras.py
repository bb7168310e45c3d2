"""What becomes of a pinned schema as results tell other columns: ``broker.eras`` and ``records.Schema``, both pure."""

from __future__ import annotations

from msgspec.structs import replace

from odibi_actors.broker import eras
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.sources import history
from odibi_actors.messages import NodeDone
from odibi_actors.model import Attempt, SchemaChange

PIN = rec.Schema("p", "s", b"k", ["k: int64"], iteration=1, notes=["declared"])


def result(iteration: int, *columns: str, missing: str = "") -> NodeDone:
    text = ["k: int64", *(f"{name}: double" for name in columns)]
    done = NodeDone(Attempt(1, iteration), "p", iteration, "s", "key", 0.0, 0.0, 1, 1, "w")
    new = [SchemaChange(name, "new", "double") for name in columns]
    gone = [SchemaChange(missing, "missing")] if missing else []
    schema, told = ("".join(["k", *columns]).encode(), text) if columns else (b"", [])
    return replace(done, schema=schema, schema_text=told, schema_notes=[""] * len(columns), changes=[*gone, *new])


def evolved(pin: rec.Schema, *results: NodeDone) -> rec.Schema:
    for done in results:
        changed = eras.changed(pin, done, 5.0, lambda _: False)
        pin = pin if changed is None else changed.pin
    return pin


def told(pin: rec.Schema) -> list[tuple[int, str, str]]:
    return [(era.iteration, one.column, one.change) for era in pin.history for one in era.changes]


def test_given_results_that_were_made_beside_each_other_then_none_takes_a_column_from_the_other() -> None:
    pin = evolved(PIN, result(3, "x"))
    assert not eras.grows(pin, result(2, "y", "z"))  # it would be k, y, z
    assert not eras.grows(pin, result(2, "x"))
    assert eras.changed(pin, result(2, "y"), 5.0, lambda _: False) is None
    void = replace(result(5, "x", "y"), changes=[SchemaChange("y", "new", "double")])  # x was pinned then, and is not
    assert not eras.grows(PIN, void)
    assert eras.changed(PIN, void, 5.0, lambda _: False) is None
    both = evolved(pin, result(4, "x", "y", missing="k"), result(5, missing="k"))
    assert (both.arrow, both.text) == (b"kxy", ["k: int64", "x: double", "y: double"])
    assert told(both) == [(3, "x", "new"), (4, "k", "missing"), (4, "y", "new")]


def test_given_iterations_that_are_void_then_the_schema_is_that_of_before_the_first_that_changed_it() -> None:
    pin = evolved(PIN, result(3, missing="k"), result(4, "x"), result(6, "x", "y"))
    assert pin.as_of(6) is pin
    assert (
        pin.as_of(5)
        == pin.without(lambda era: era.iteration == 6)
        == evolved(PIN, result(3, missing="k"), result(4, "x"))
    )
    back = pin.without(lambda era: era.iteration == 4)
    assert (back.arrow, back.text, back.notes, told(back)) == (b"k", ["k: int64"], ["declared"], [(3, "k", "missing")])
    assert told(pin.without(lambda era: era.iteration == 3)) == [(4, "x", "new"), (6, "y", "new")]
    assert pin.as_of(0) is None


def test_given_one_that_goes_on_for_good_with_columns_that_others_have_told_then_they_are_its_own() -> None:
    pin = evolved(PIN, result(3, missing="k"), result(4, "x"), result(5, "x", "y"))
    kept = eras.prepared(pin, 5, lambda number: number == 4)  # which is of another lane
    assert [era.iteration for era in kept.history] == [3, 5, 5]
    assert [era.iteration for era in eras.prepared(pin, 2, lambda _: False).history] == [3, 2, 2]
    assert eras.prepared(pin, 5, lambda _: False) is pin


def test_given_a_change_whose_tellers_may_all_go_then_whoever_has_it_too_keeps_it_and_it_is_told_once() -> None:
    pin = evolved(PIN, result(4, missing="k"))
    assert eras.changed(pin, result(5, missing="k"), 5.0, lambda _: False) is None
    assert eras.changed(pin, result(4, missing="k"), 5.0, lambda _: True) is None  # its own
    for number, unsure in ((5, True), (3, False)):  # 4 may be cancelled; or be taken back while 3, of a backfill, stays
        found = eras.changed(pin, result(number, missing="k"), 5.0, lambda _, unsure=unsure: unsure)  # type: ignore[misc]
        assert found is not None
        assert found.told == []
        assert told(found.pin.without(lambda era: era.iteration == 4)) == [(number, "k", "missing")]
        assert [row["iteration"] for row in history(found.pin)] == [min(number, 4)]


def test_given_a_sink_that_is_open_again_then_nothing_that_came_since_goes_with_a_later_one_that_is_void() -> None:
    pin = replace(evolved(PIN, result(3, "x"), result(4, "x", "y")), former=b"former")
    opened = pin.reopened()
    assert (opened.arrow, opened.open, opened.iteration) == (b"former", True, 0)
    assert opened.without(lambda era: era.iteration == 4) is opened


def test_given_very_many_changes_then_the_oldest_are_part_of_what_it_was_at_first() -> None:
    pin = PIN
    for number in range(2, 2 * rec.MAX_ERAS):
        pin = evolved(pin, result(number, *(f"x{one}" for one in range(2, number + 1))))
    assert len(pin.history) == rec.MAX_ERAS
    oldest = pin.history[0]
    assert len(pin.without(lambda _: True).text) == oldest.columns == rec.MAX_ERAS - 1
