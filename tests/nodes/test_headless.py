"""A row of data that would be taken for a header, and lost, is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats.headless import data_first, looks_like_data
from odibi_actors.nodes.read import DOUBT, read
from tests.nodes.helpers import position, read_spec

DATA = {
    "a number and a date": "4711,2025-01-01,a\n4712,2025-01-02,b\n",
    "all numbers": "1,2\n3,4\n",
    "all numbers in order, as a frame without names writes them": "0,1,2\n7,8,9\n",
    "a price": "x,1.50\ny,2.50\n",
    "a comma for the point": '"x";"1,50"\n"y";"2,50"\n',
    "a day as it is written elsewhere": "x,31.01.2025\ny,01.02.2025\n",
    "a time": "x,10:30\ny,10:45:00\n",
    "a number above numbers and one gap": "4711,x\n,y\n4713,z\n",
    "codes": "AB-17,x\nCD-18,y\n",
    "codes with digits first": "1a,x\n2b,y\n",
    "one line alone": "4711,x\n",
    "two years with numbers that are none": "fr,2019,7\nde,2020,8\n",
}
NAMES = {
    "names": "id,day\n1,2025-01-01\n",
    "names of texts": "name,city\nx,y\n",
    "names with digits": "q1,q2\nx7,y8\n",
    "years": "country,2019,2020\nfr,1,2\n",
    "a name above numbers, beside a number": "id,2019\n1,2\n",
    "days above counts": "country,2025-01-01,2025-02-01\nfr,1,2\n",
    "names alone": "id,day\n",
    "years alone": "country,2019,2020\n",
    "blanks": "\n\n",
    "nothing": "",
}


@pytest.mark.parametrize("text", DATA.values(), ids=DATA)
def test_given_a_first_line_of_data_then_it_is_told(text: str) -> None:
    options = {"delimiter": ";"} if ";" in text else {}
    assert data_first(text.encode(), options)
    assert data_first(text.encode(), options | {"column_names": ["a"]}) == ""


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES)
def test_given_a_header_then_nothing_is_told(text: str) -> None:
    assert data_first(text.encode(), {}) == ""


def test_given_rows_of_any_width_then_only_what_is_there_is_looked_at() -> None:
    assert looks_like_data(["7", "x"], [["8"], [], ["9", "y", "z"]]) == "'7' is a number, as below it"
    assert looks_like_data([], [["8"]]) == ""


def test_given_lines_to_skip_then_the_header_is_the_line_below() -> None:
    text = b"made by hand\n4711,x\n---\n4712,y\n"
    assert data_first(text, {"skip_rows": 1, "skip_rows_after_names": 1}) == "'4711' is a number, as below it"


def test_given_a_source_without_declared_types_when_read_first_then_a_first_line_of_data_is_told_once(
    tmp_path: Path,
) -> None:
    first = position(tmp_path, "a.csv", b"4711,x\n4712,y\n")
    found = read(read_spec(tmp_path), [first], b"")
    (told, *others) = found.notes
    assert f"a.csv {DOUBT} ('4711' is a number, as below it), taken for names" in told
    assert "options: {column_names: [...]}" in told
    assert not any(DOUBT in note for note in others)
    assert read(read_spec(tmp_path), [first], found.schema).notes == []
    declared = read(read_spec(tmp_path, schema={"4711": "int64", "x": "string"}), [first], b"")
    assert not any(DOUBT in note for note in declared.notes)
    bare = read(read_spec(tmp_path, options={"column_names": ["id", "kind"]}), [first], b"")
    assert bare.table.to_pydict() == {"id": [4711, 4712], "kind": ["x", "y"]}
    assert not any(DOUBT in note for note in bare.notes)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            b"7,7\n8,9\n",
            'options: {skip_rows: 1, column_names: ["7", "7_2"]}, without skip_rows if the files have no he',
        ),
        (b"7,,x\n8,9,y\n", "or, if the files have no header, name all columns: options: {column_names: [...]}"),
    ],
    ids=["twice", "without a name"],
)
def test_given_names_that_are_none_then_the_option_for_files_without_a_header_is_named(
    tmp_path: Path, data: bytes, says: str
) -> None:
    with pytest.raises(Failed, match=re.escape(says)):
        read(read_spec(tmp_path), [position(tmp_path, "a.csv", data)], b"")
