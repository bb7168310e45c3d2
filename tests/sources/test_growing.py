"""Growing files: where rows end, how they are cut into pieces, by what a file is known again, and what is read."""

from __future__ import annotations

import csv
import io
import os
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from odibi_actors.config.model import BatchSpec, ConnectionSpec, ReadSpec
from odibi_actors.kinds.connection import OPEN
from odibi_actors.kinds.format import Lines, lines_of
from odibi_actors.kinds.registry import format_of
from odibi_actors.nodes.failures import Failed
from odibi_actors.sources.growing import places
from odibi_actors.sources.growing.cutting import Cut, Cutter
from odibi_actors.sources.growing.lines import Scanner, header_end
from odibi_actors.sources.growing.places import Mark, mark
from odibi_actors.sources.incremental import INCREMENTAL
from odibi_actors.streaming.effects import Again, Ahead, AsNow, Begin, Part, Piece, Seen

CSV = Lines(True, b'"', b",")


# --- where rows end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_given_blocks_of_any_size_then_rows_end_where_a_csv_reader_has_them_end(size: int) -> None:
    rng = random.Random(size)
    values = ["a", "", 'say ""x""', "two\nlines", 'q"\nb', "5", 'in "mid"dle', ",", "\r\n", '"', "x" * 9]
    for _ in range(50):
        rows = [[rng.choice(values) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 6))]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator=rng.choice(["\n", "\r\n"]), quoting=rng.choice([0, 1]))
        expected = []
        for row in rows:
            writer.writerow(row)
            expected.append(len(text.getvalue().encode()))
        data = text.getvalue().encode()
        scanner, found = Scanner(CSV), []
        for at in range(0, len(data), size):
            found += [at + end for end in scanner.ends(data[at : at + size])]
        assert found == expected, data


def test_given_a_quote_within_a_value_then_it_opens_nothing() -> None:
    assert Scanner(CSV).ends(b'5" disk,x\n6" disk,"a\nb"\n') == [10, 24]
    assert Scanner(CSV).ends(b'x,"a""\nb"\n') == [10]
    assert Scanner(Lines()).ends(b'{"a": "b\n') == [9]


def test_given_empty_lines_before_it_then_the_header_is_the_first_line_with_something() -> None:
    assert header_end(b"\n\r\na,b\n1,2\n", CSV) == 7
    assert header_end(b"a,b", CSV) == 0


# --- pieces ---------------------------------------------------------------------------------------------------------


START = Mark()


def cut(data: bytes, begin: Mark = START, rows: int = 10**6, size: int = 10**9, inode: int = 7) -> list[Cut]:
    cutter = Cutter(begin, inode, data[: places.BEGINNING], CSV, rows, size)
    found = []
    for number in range(begin.whole, -(-len(data) // places.BLOCK)):
        found += cutter.feed(data[number * places.BLOCK : (number + 1) * places.BLOCK])
    last = cutter.rest()
    return found if last is None else [*found, last]


def test_given_limits_then_pieces_have_whole_rows_within_them_and_leave_nothing_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "BLOCK", 16)
    for module in ("cutting",):
        monkeypatch.setattr(f"odibi_actors.sources.growing.{module}.BLOCK", 16)
    rng = random.Random(1)
    for _ in range(300):
        rows = [b"x" * rng.randint(0, 12) + b"\n" for _ in range(rng.randint(1, 12))]
        data = b"".join(rows) + b"half"
        most, size = rng.randint(1, 4), rng.randint(3, 30)
        found = cut(data, rows=most, size=size)
        assert [one.begin.offset for one in found[1:]] == [one.end.offset for one in found[:-1]]
        assert b"".join(data[one.begin.offset : one.end.offset] for one in found) == b"".join(rows)
        for one in found:
            part = data[one.begin.offset : one.end.offset]
            assert part.count(b"\n") == one.rows <= most
            assert len(part) <= size or one.rows == 1
        # Cut again from any of the places, it comes to the same places: the fingerprint does not depend on the cuts.
        middle = rng.choice(found).end
        assert [one.end for one in cut(data, middle)][-1:] in ([], [found[-1].end])
        assert mark(middle.packed()) == middle


def test_given_places_then_their_bytes_are_in_the_order_of_reading() -> None:
    marks = [Mark(g, o, rest=bytes([255 - o % 256]) * 16) for g in (0, 1) for o in (0, 1, 255, 256, 10**12)]
    assert [one.packed() for one in marks] == sorted(one.packed() for one in marks)


# --- files ----------------------------------------------------------------------------------------------------------


class Folder:
    """A source of growing files, asked as its finder asks."""

    def __init__(self, path: Path, format: str = "csv", **more: Any) -> None:
        self.path = path
        self.read = ReadSpec(
            ConnectionSpec("in", "local", str(path)), format, "incremental", pattern="*", consumption="cursor", **more
        )

    def write(self, name: str, text: str, how: str = "a") -> None:
        with open(self.path / name, how) as file:
            file.write(text)

    def seen(self, *places: Begin, credit: int = 10, **limits: int) -> dict[str, Part]:
        ask = Ahead("p/log", 1, self.read, list(places), BatchSpec(**limits), credit)
        (seen,) = [one for one in INCREMENTAL.probe(ask) if isinstance(one, Seen)]
        self.skipped = dict(seen.skipped)
        return {part.partition: part for part in seen.parts}

    def rows(self, *pieces: Piece) -> list[dict[str, Any]]:
        found = INCREMENTAL.load(self.read, [piece.position for piece in pieces], b"", OPEN)
        return found.table.to_pylist()  # type: ignore[no-any-return]

    def now(self, *pieces: Piece) -> AsNow:
        (found,) = [
            one
            for one in INCREMENTAL.probe(Again("p/log", 2, self.read, [piece.position for piece in pieces]))
            if isinstance(one, AsNow)
        ]
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def behind(part: Part) -> Begin:
    return Begin(part.partition, part.pieces[-1].range.upper)


def test_given_a_file_that_grows_then_what_is_new_is_read_in_whole_lines(folder: Folder) -> None:
    folder.write("a.csv", 'id,t\n1,x\n2,"y\nz"\n3,')
    first = folder.seen()["a.csv"]
    assert folder.rows(*first.pieces) == [{"id": 1, "t": "x"}, {"id": 2, "t": "y\nz"}]
    assert "last line (2 bytes) has no end yet" in first.waits
    folder.write("a.csv", "w\n4,v\n")
    second = folder.seen(behind(first))["a.csv"]
    assert (second.pieces[0].position.rows, second.waits) == (2, "")
    assert folder.rows(*second.pieces) == [{"id": 3, "t": "w"}, {"id": 4, "t": "v"}]
    assert second.pieces[0].range.lower == first.pieces[-1].range.upper
    assert not folder.seen(behind(second))["a.csv"].pieces
    assert folder.seen(behind(second))["a.csv"].at == "read up to byte 25 (line 6)"


def test_given_a_quote_that_is_open_then_its_row_is_waited_for(folder: Folder) -> None:
    folder.write("a.csv", 'id,t\n1,"x\n')
    part = folder.seen()["a.csv"]
    assert (part.pieces, "quoted value that has no end yet" in part.waits) == ([], True)


def test_given_no_header_or_json_lines_then_all_lines_are_rows(tmp_path: Path) -> None:
    bare = Folder(tmp_path, options={"column_names": ["id", "t"]})
    bare.write("a.csv", "1,x\n")
    first = bare.seen()["a.csv"]
    bare.write("a.csv", "2,y\n")
    assert bare.rows(*bare.seen(behind(first))["a.csv"].pieces) == [{"id": 2, "t": "y"}]
    (tmp_path / "a.csv").unlink()
    lines = Folder(tmp_path, "json")
    lines.write("b.jsonl", '{"id": 1}\n{"id":')
    assert lines.rows(*lines.seen()["b.jsonl"].pieces) == [{"id": 1}]
    lines.write("c.json", '[{"id": 1}]\n')
    assert "is one array" in lines.seen()["c.json"].problem


def test_given_a_file_that_was_written_anew_with_the_same_beginning_then_it_goes_on_behind_it(folder: Folder) -> None:
    folder.write("a.csv", "id\n1\n2\n")
    first = folder.seen()["a.csv"]
    folder.write("new", "id\n1\n2\n3\n")
    os.replace(folder.path / "new", folder.path / "a.csv")
    second = folder.seen(behind(first))["a.csv"]
    assert (folder.rows(*second.pieces), second.problem) == ([{"id": 3}], "")


@pytest.mark.parametrize(
    ("text", "says"),
    [("id\n1\n", "was truncated"), ("id\n7\n2\n3\n", "was replaced"), ("id\n1\n9\n3\n", "was replaced")],
)
@pytest.mark.parametrize("how", ["w", "renamed"])
def test_given_a_file_that_is_another_one_then_it_is_told_or_read_again(
    folder: Folder, text: str, says: str, how: str
) -> None:
    folder.write("a.csv", "id\n1\n2\n")
    first = folder.seen()["a.csv"]
    folder.write("a.csv" if how == "w" else "new", text, "w")
    if how != "w":
        os.replace(folder.path / "new", folder.path / "a.csv")
    part = folder.seen(behind(first))["a.csv"]
    assert part.pieces == []
    says = "was replaced" if how != "w" else says
    assert says in part.problem
    again = Folder(folder.path, on_change="reprocess").seen(behind(first))["a.csv"]
    assert says in again.note
    assert folder.rows(*again.pieces) == [{"id": int(line)} for line in text.split()[1:]]
    assert again.pieces[0].range.lower == first.pieces[-1].range.upper < again.pieces[0].range.upper
    assert again.pieces[0].position.identity.startswith("a.csv#2:")
    assert folder.seen(behind(again))["a.csv"].problem == "", "from now on it is this one"


def test_given_a_file_that_was_renamed_or_copied_then_its_rows_are_said_to_be_read_a_second_time(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cutting", "probe", "places", "renamed"):
        monkeypatch.setattr(f"odibi_actors.sources.growing.{module}.BLOCK", 64)
        monkeypatch.setattr(f"odibi_actors.sources.growing.{module}.BEGINNING", 8)
    folder.write("a.csv", "id\n1\n")
    short = folder.seen()["a.csv"]
    folder.write("copy", "id\n1\n2\n")
    assert folder.seen(behind(short))["copy"].note == "", "a few bytes may be equal by chance"
    os.replace(folder.path / "a.csv", folder.path / "a\n1")
    folder.write("a\n1", "2\n")
    folder.write("a.csv", "id\n7\n")
    told = folder.seen(behind(short))
    assert told["a\n1"].note.startswith("a\\n1 begins with all that was read of a.csv, up to byte 5, and is read from")
    assert folder.rows(*told["a\n1"].pieces) == [{"id": 1}, {"id": 2}]
    text = "id\n" + "".join(f"{number:09}\n" for number in range(100))
    folder.write("long", text)
    long = folder.seen()["long"]
    folder.write("copy", text + "1\n", "w")
    folder.write("other", text.replace("000000010", "000000011"), "w")
    seen = folder.seen(behind(short), behind(long))
    assert "all that was read of long, up to byte 1,003" in seen["copy"].note
    assert seen["other"].note == "", "a block before the last is another"
    assert folder.seen(behind(seen["copy"]), behind(long))["copy"].note == "", "it is told of new files"


def test_given_a_file_written_anew_whose_middle_is_another_then_the_whole_chain_tells(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("cutting", "probe", "places"):
        monkeypatch.setattr(f"odibi_actors.sources.growing.{module}.BLOCK", 64)
        if module != "cutting":
            monkeypatch.setattr(f"odibi_actors.sources.growing.{module}.BEGINNING", 8)
    monkeypatch.setattr("odibi_actors.sources.growing.cutting.BEGINNING", 8)
    text = "id\n" + "".join(f"{number:09}\n" for number in range(100))
    folder.write("a.csv", text)
    first = folder.seen()["a.csv"]
    other = text.replace("000000050", "000000051")
    folder.write("new", other)
    os.replace(folder.path / "new", folder.path / "a.csv")
    assert "was replaced" in folder.seen(behind(first))["a.csv"].problem


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (0, "does not begin as it did"),
        (5, ""),  # as docs/configuration.md has it: behind the beginning, before the last full block
        (95, ""),  # though it is less than a block before the place
        (99, "what precedes byte 1,003 is not what was read"),
    ],
)
def test_given_a_row_that_is_another_in_the_same_file_then_the_beginning_and_what_follows_the_last_full_block_tell(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, row: int, told: str
) -> None:
    for module in ("cutting", "probe", "places"):
        monkeypatch.setattr(f"odibi_actors.sources.growing.{module}.BLOCK", 64)
        if module != "places":
            monkeypatch.setattr(f"odibi_actors.sources.growing.{module}.BEGINNING", 8)
    folder.write("a.csv", "id\n" + "".join(f"{number:09}\n" for number in range(100)))
    first = folder.seen()["a.csv"]
    with (folder.path / "a.csv").open("r+") as file:
        file.seek(3 + 10 * row)
        file.write("9")
    folder.write("a.csv", "7\n")
    seen = folder.seen(behind(first))["a.csv"]
    assert (told in seen.problem) if told else not seen.problem
    assert (folder.rows(*seen.pieces) if seen.pieces else []) == ([] if told else [{"id": 7}])
    with pytest.raises(Failed, match="digest"):  # what reads it again, a rewind or a backfill, names the piece
        folder.rows(*first.pieces)


def test_given_a_planned_piece_that_was_changed_then_the_reader_says_so(folder: Folder) -> None:
    folder.write("a.csv", "id\n1\n2\n")
    part = folder.seen()["a.csv"]
    folder.write("a.csv", "id\n1\n3\n", "w")
    with pytest.raises(Failed, match="digest"):
        folder.rows(*part.pieces)
    assert folder.now(*part.pieces).changed == [part.pieces[0].position.identity]
    assert folder.rows(*folder.now(*part.pieces).pieces) == [{"id": 1}, {"id": 3}]
    folder.write("a.csv", "no\n1\n3\n", "w")
    with pytest.raises(Failed, match="first line"):
        folder.rows(*part.pieces)
    folder.write("a.csv", "id\n1\n", "w")
    with pytest.raises(Failed, match="cut short"):
        folder.rows(*part.pieces)
    assert "cut short" in folder.now(*part.pieces).gone[0][1]
    folder.write("a.csv", "id\n1\n1234\n", "w")
    assert "no end of a line" in folder.now(*part.pieces).gone[0][1]


def test_given_a_row_that_cannot_be_read_then_its_line_in_the_file_is_told(folder: Folder) -> None:
    spec = Folder(folder.path, schema={"id": "int64"})
    folder.write("a.csv", "id\n1\n2\n")
    first = spec.seen()["a.csv"]
    folder.write("a.csv", "3\nx\n")
    with pytest.raises(Failed) as failed:
        spec.rows(*spec.seen(behind(first))["a.csv"].pieces)
    assert failed.value.failure.line == 5
    assert "a.csv:7-11 line 5" in failed.value.failure.message


def test_given_limits_and_credit_then_pieces_fit_and_more_is_told(folder: Folder) -> None:
    folder.write("a.csv", "id\n" + "".join(f"{n}\n" for n in range(10)))
    part = folder.seen(credit=2, max_rows=3)["a.csv"]
    assert ([piece.position.rows for piece in part.pieces], part.more) == ([3, 3], True)
    rest = folder.seen(behind(part), max_rows=3)["a.csv"]
    assert ([piece.position.rows for piece in rest.pieces], rest.more) == ([3, 1], False)
    assert [row["id"] for row in folder.rows(*part.pieces, *rest.pieces)] == list(range(10))


def test_given_a_bound_then_nothing_behind_it_is_read_and_the_last_place_is_that_one(folder: Folder) -> None:
    folder.write("a.csv", "id\n1\n2\n3\n")
    whole = folder.seen(max_rows=1)["a.csv"].pieces
    folder.write("new", "id\n1\n2\n3\n")
    os.replace(folder.path / "new", folder.path / "a.csv")  # another inode
    part = folder.seen(Begin("a.csv", Mark().packed(), whole[1].range.upper))["a.csv"]
    assert folder.rows(*part.pieces) == [{"id": 1}, {"id": 2}]
    assert part.pieces[-1].range.upper == whole[1].range.upper
    folder.write("a.csv", "id\n1\n5\n", "w")
    gone = folder.seen(Begin("a.csv", Mark().packed(), whole[1].range.upper))["a.csv"]
    assert "cannot be read again" in gone.problem


def test_given_what_cannot_grow_then_it_is_told(folder: Folder) -> None:
    folder.write("a.csv.gz", "x")
    assert folder.seen() == {}
    assert "packed" in folder.skipped["a.csv.gz"]
    assert "read whole" in str(lines_of(format_of("parquet"), {}))
    for options in ({"escape_char": "\\"}, {"skip_rows": 1}, {"encoding": "utf-16"}, {"compression": "gzip"}):
        assert isinstance(lines_of(format_of("csv"), options), str), options
    part = replace(folder.read, options={"newlines_in_values": False})
    assert lines_of(format_of("csv"), part.options) == Lines(True, b"", b",")
