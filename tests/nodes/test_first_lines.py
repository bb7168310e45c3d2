"""Csv files that begin with what is no header: each told with its remedy, which works."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from odibi_actors.local.draft import look
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.read import read
from tests.nodes.helpers import position, read_spec

ROWS = "id{0}n\n1{0}2\n"


@pytest.mark.parametrize("line", ["sep=;\n", "sep=,\r\n", "SEP=\t\n", '"sep=;"\n', "sep=|\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_given_a_line_that_tells_excel_the_delimiter_then_the_options_that_read_it(
    tmp_path: Path, line: str, encoding: str
) -> None:
    delimiter = line.strip('"\r\n')[-1] if line != "SEP=\t\n" else "\t"
    data = (line + ROWS.format(delimiter)).encode(encoding)
    known = {"encoding": encoding} if encoding == "utf-16" else {}
    for more in ({}, {"delimiter": delimiter}, {"column_names": ["a"]}):
        with pytest.raises(Failed, match="tells Excel the delimiter and is no header") as caught:
            read(read_spec(tmp_path, options=known | more), [position(tmp_path, "a.csv", data)], b"")
        assert caught.value.failure.line == 1
    shown = delimiter.replace("\t", "\\t")
    assert f'{{skip_rows: 1, delimiter: "{shown}"}}' in str(caught.value)
    options = known | {"skip_rows": 1, "delimiter": delimiter}
    found = read(read_spec(tmp_path, options=options), [position(tmp_path, "a.csv")], b"").table
    assert found.to_pylist() == [{"id": 1, "n": 2}]


def test_given_such_lines_then_the_draft_passes_over_them(tmp_path: Path) -> None:
    (tmp_path / "e-1.csv").write_text("sep=;\nid;n\n1;2\n")
    (tmp_path / "e-2.csv").write_text("sep=;\r\nid;n\r\n3;4\r\n")
    (group,) = look(tmp_path).groups
    assert group.options == {"delimiter": ";", "skip_rows": 1}
    assert group.columns == [("id", "int64"), ("n", "int64")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_given_two_byte_order_marks_then_no_name_begins_with_one(tmp_path: Path, encoding: str) -> None:
    data = ("\ufeff" + ROWS.format(",")).encode(encoding)
    known = {"encoding": encoding} if encoding == "utf-16" else {}
    with pytest.raises(Failed, match="begins with two byte order marks"):
        read(read_spec(tmp_path, options=known), [position(tmp_path, "a.csv", data)], b"")
    if not known:
        mended = data.removeprefix(codecs.BOM_UTF8)
        assert read(read_spec(tmp_path), [position(tmp_path, "a.csv", mended)], b"").table.column_names == ["id", "n"]
