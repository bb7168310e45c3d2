"""What a node prints bears its name, a line at a time."""

from __future__ import annotations

import contextlib
import io
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from odibi_actors.nodes.printing import labelled


def test_given_a_label_then_each_line_begins_with_it_and_the_last_one_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with labelled("sales 12 clean"):
        print("one\ntwo", end="")
        print(" and more")
        print("unfinished", end="", flush=True)
        print("apart", file=sys.stderr)
    print("after")
    out, err = capsys.readouterr()
    assert out == "sales 12 clean: one\nsales 12 clean: two and more\nsales 12 clean: unfinished\nafter\n"
    assert err == "sales 12 clean: apart\n"


def test_given_one_stream_for_both_then_lines_do_not_mix() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), labelled("a 1 b"):
        print("half", end=" ")
        print("whole", file=sys.stderr)
    assert out.getvalue() == "a 1 b: half whole\n"


def test_given_an_error_then_the_streams_are_as_before() -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(ValueError, match="luck"), labelled("a 1 b"):
        raise ValueError("no luck")
    assert (sys.stdout, sys.stderr) == before


def test_given_a_stream_that_the_function_put_there_then_it_stays() -> None:
    mine, before = io.StringIO(), sys.stdout
    try:
        with labelled("a 1 b"):
            sys.stdout = mine
        assert sys.stdout is mine
    finally:
        sys.stdout = before


def test_given_what_only_the_stream_has_then_it_answers() -> None:
    with labelled("a 1 b"):
        assert sys.stdout.encoding
        assert not sys.stdout.closed
        sys.stdout.writelines([])


def test_given_threads_then_no_line_is_torn(capsys: pytest.CaptureFixture[str]) -> None:
    with labelled("a 1 b"), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: sys.stdout.write(f"{n}\n"), range(200)))
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"a 1 b: {n}" for n in range(200))


def test_given_a_closed_stream_then_the_node_does_not_fail_for_it() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), labelled("a 1 b"):
        print("left", end="")
        out.close()
