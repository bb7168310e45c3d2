"""What a cancel took from a run of a source that is read in order, and which part of it is planned again."""

from __future__ import annotations

from odibi_actors.model import Range


def test_a_range_that_is_planned_again_in_other_pieces_leaves_its_rest() -> None:
    lost = Range("f", b"\x01", b"\x05").given_back()
    assert Range("f", b"\x01", b"\x05").leaves(lost) == ""
    assert Range("f", b"\x00", b"\x06").leaves(lost) == ""
    rest = Range("f", b"\x01", b"\x02").leaves(lost)
    assert rest == Range("f", b"\x02", b"\x05").given_back()
    assert Range("f", b"\x02", b"\x05").leaves(rest) == ""
    for other in (Range("g", b"\x01", b"\x05"), Range("f", b"\x05", b"\x09"), Range("f", b"\x00", b"\x01")):
        assert other.leaves(lost) == lost
    former = "f\x0001"  # as runs of former releases have it: where it begins
    assert Range("f", b"\x01", b"\x02").leaves(former) == ""
    assert Range("f", b"\x02", b"\x03").leaves(former) == former
