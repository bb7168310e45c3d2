"""csv and JSON as frames, and frames as JSON: values as they stand there, or an error that names the column."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pandas as pd

from odibi_actors.core.values import EXACT, as_json, column, is_text, records, whole_type

_READS_EXACTLY: Final = tuple(int(part) for part in pd.__version__.split(".")[:2]) >= (3, 1)
"""Whether pandas reads floats of csv exactly by itself; then it warns of being told to."""
_CELLS: Final = frozenset(
    {"sep", "delimiter", "engine", "skipinitialspace", "skiprows", "skip_blank_lines", "compression", "lineterminator"}
    | {"quotechar", "quoting", "doublequote", "escapechar", "comment", "encoding", "encoding_errors", "dialect"}
    | {"storage_options"}
)
"""Arguments of pandas' reader that say where a cell ends."""
_WHOLE: Final = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)


def csv(name: str, header: Any = True, **kw: Any) -> pd.DataFrame:
    """``header``: True, the first line; False, none; or what pandas takes. Numbers are those of the text, exactly.
    Raises ValueError for a first row that is longer than the header, and for names that columns share."""
    if isinstance(header, bool):
        header = 0 if header else None
    if header == 0 and kw.get("names") is None:
        _check_header(name, kw)
    exact = {} if "engine" in kw or _READS_EXACTLY else {"float_precision": "round_trip"}
    options = {"header": header, **exact, **kw}
    frame: pd.DataFrame = pd.read_csv(name, **options)
    return _whole_numbers(frame, name, options)


def _check_header(name: str, kw: dict[str, Any]) -> None:
    """pandas takes the first cells of longer rows for an index, and renames columns of one name, without a word."""
    cells = {key: value for key, value in kw.items() if key in _CELLS}
    try:
        rows = 2 if kw.get("index_col") is None else 1  # who says what is the index has longer rows
        first = pd.read_csv(name, header=None, nrows=rows, dtype=str, keep_default_na=False, **cells)
    except pd.errors.ParserError as error:
        raise ValueError(
            f"{name}: its first row has more cells than the header ({str(error).strip()}); index_col=0 takes its first "
            "cell for an index, names= and header=0 give columns other names"
        ) from error
    names = first.iloc[0].tolist()
    twice = sorted({one for one in names if isinstance(one, str) and one and names.count(one) > 1})
    if twice:
        raise ValueError(f"{name}: several columns are named {', '.join(twice)}; give names= and header=0")


def _whole_numbers(frame: pd.DataFrame, name: str, options: dict[str, Any]) -> pd.DataFrame:
    """The columns of whole numbers that pandas has made floats, since some are missing, where digits may be lost."""
    types = options.get("dtype") or {}
    if not isinstance(frame, pd.DataFrame) or frame.columns.nlevels > 1 or not isinstance(types, dict):
        return frame
    converted = {*types, *(options.get("converters") or {})}
    large = [
        one
        for one, kind in frame.dtypes.items()
        if kind == "float64" and one not in converted and frame[one].abs().max() >= EXACT
    ]
    if not large:
        return frame
    texts = pd.read_csv(name, **{**options, "dtype": {**types, **dict.fromkeys(large, str)}})
    between = options.get("thousands") or "\0"  # none: nothing is taken out
    for one in large:
        cells = [None if pd.isna(text) else text.replace(between, "") for text in texts[one].tolist()]
        if all(text is None or _WHOLE.fullmatch(text) for text in cells):
            values = [None if text is None else int(text) for text in cells]
            numbers = [value for value in values if value is not None]
            frame[one] = pd.Series(values, index=frame.index, dtype=whole_type(numbers))
    return frame


def read_json(path: Path, lines: bool, **kw: Any) -> pd.DataFrame:
    """Values as JSON has them; with arguments for pandas' reader as that makes them. Raises ValueError."""
    if kw:
        frame: pd.DataFrame = pd.read_json(path, **{"lines": lines, **kw})
        return frame
    text = path.read_text(encoding="utf-8-sig")
    # Lines end at a line feed alone: JSON has the other separators within texts.
    rows = [_parsed(line) for line in text.split("\n") if line.strip()] if lines else _parsed(text)
    if isinstance(rows, dict):  # one row, or a list per column
        rows = rows if all(isinstance(value, list) for value in rows.values()) else [rows]
    if isinstance(rows, dict):
        return _of_columns(rows)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: its rows are no objects; read it yourself, or give arguments for pandas' reader")
    names = dict.fromkeys(name for row in rows for name in row)
    return _frame({name: [row.get(name) for row in rows] for name in names}, len(rows))


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _of_columns(columns: dict[str, list[Any]]) -> pd.DataFrame:
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
        raise ValueError(
            f"one object of lists is a list per column, and these differ in length: {told}; a row is [{{...}}]"
        )
    return _frame(columns, next(iter(sizes.values()), 0))


def _frame(columns: dict[str, list[Any]], size: int) -> pd.DataFrame:
    for name, values in columns.items():
        if not is_text(name) or not is_text(values):
            raise ValueError(f"column {name!r}: a text has a lone surrogate, half a character, which UTF-8 has not")
    return pd.DataFrame({name: column(values) for name, values in columns.items()}, index=range(size))


def json_text(frame: pd.DataFrame, *, lines: bool) -> str:
    """Records. Raises TypeError by column: a value that JSON does not give back, a name that two columns have."""
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise TypeError(f"JSON has no two columns of one name: {', '.join(names)}")
    texts = []
    for row in records(frame):
        found = {}
        for name, value in zip(names, row, strict=True):
            try:
                found[name] = as_json(value)
            except TypeError as error:
                raise TypeError(f"column {name!r}: {error}; make it text, or a number") from error
        texts.append(json.dumps(found, ensure_ascii=False, allow_nan=False))
    if lines:
        return "".join(f"{text}\n" for text in texts)
    return "[" + ",\n ".join(texts) + "]\n"
