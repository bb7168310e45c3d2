"""Tables as data frames and back.

pandas frames are of ``pandas.ArrowDtype`` throughout: a column has the same type whether or not it happens to hold a
null this time (numpy would turn integers with a gap into doubles, dates and decimals into objects), ``.str``, ``.dt``,
``.fillna`` and comparisons work, conversion costs nothing, and writing into a frame never reaches the shared memory,
because such columns are replaced, not overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from odibi_actors.batches.narrow import for_polars
from odibi_actors.batches.normalise import check_names, normalise
from odibi_actors.batches.objects import Mixed, check_values
from odibi_actors.errors import BatchError, MissingExtraError

if TYPE_CHECKING:
    import polars as pl

POLARS_HINT = "polars is not installed; run: pip install 'odibi-actors[polars]'"
_POLARS_REMEDY = {
    "Object": "convert the objects to values of one type",
    "Int128": "cast it, to pl.Int64, pl.Decimal(38, 0) or pl.String",
    "UInt128": "cast it, to pl.UInt64, pl.Decimal(38, 0) or pl.String",
}
"""Types of polars that have no Arrow form (an Object would be exported as a memory address) -> what to do."""

_NO_FORM = (pa.ArrowException, ValueError, TypeError, OverflowError, NotImplementedError)
"""What pandas and Arrow raise for values that they cannot convert."""


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """The table as a frame of ``pandas.ArrowDtype`` columns that the receiver may change as it likes."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def from_pandas(frame: pd.DataFrame) -> pa.Table:
    """The frame's columns as a table. Raises BatchError: what would be lost or changed, by column.

    Its index is dropped where it holds no data: it has no name and is what filtering, sorting and concatenating leave
    of a default one. All others are refused (``groupby`` puts the keys there, ``describe`` what its rows mean).
    """
    _check_index(frame.index)
    odd = [name for name in frame.columns if not isinstance(name, str)]
    if odd:
        raise BatchError(f"column names must be text, not {odd[0]!r} ({type(odd[0]).__name__})")
    check_names([str(name) for name in frame.columns])
    for place, name in enumerate(frame.columns):
        _check_column(name, frame.iloc[:, place])
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except _NO_FORM as error:
        name, why = _culprit(frame, error)
        what = f"column {name!r} has no Arrow form" if name else "the frame has no Arrow form"
        is_text = isinstance(error, UnicodeError)
        remedy = "take such characters out" if is_text else "make it text, .astype(str), or another type"
        raise BatchError(f"{what}: {why}; {remedy}", column=name) from error
    return normalise(table)


def from_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Mappings, one for each row, as a table; what a row lacks is null. Raises BatchError, by column."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    return from_pandas(pd.DataFrame(columns, index=range(len(rows))))


def to_polars(table: pa.Table) -> pl.DataFrame:
    """The table as a polars frame. Raises MissingExtraError, and BatchError for what polars cannot hold exactly."""
    try:
        import polars
    except ModuleNotFoundError as error:
        raise MissingExtraError(POLARS_HINT) from error
    frame = _guarded(polars.from_arrow, for_polars(table))
    assert isinstance(frame, polars.DataFrame)
    return frame


def from_polars(frame: pl.DataFrame) -> pa.Table:
    """The polars frame as a table. Raises BatchError, by column."""
    for name, kind in frame.schema.items():
        found = next((one for one in _inner(kind) if one in _POLARS_REMEDY), "")
        if found:
            message = f"column {name!r} is {kind}, for which there is no Arrow type; {_POLARS_REMEDY[found]}"
            raise BatchError(message, column=name)
    return normalise(_guarded(frame.to_arrow))


# --- pandas -----------------------------------------------------------------------------------------------------------


def _check_index(index: pd.Index) -> None:
    names = [name for name in index.names if name is not None]
    if names or index.nlevels > 1:
        shown = ", ".join(str(name) for name in index.names)
        raise BatchError(f"the frame has an index with data ({shown}), which is not kept: return frame.reset_index()")
    default = isinstance(index, pd.RangeIndex) or str(index.dtype) == "int64"  # Arrow's integers are of a set_index()
    if len(index) and not default:
        raise BatchError(
            f"the frame has an index of {index.dtype} without a name (first: {str(index[0])[:40]}), which is not kept: "
            "name it and return frame.reset_index(), or drop it by reset_index(drop=True)"
        )


def _check_column(name: str, column: pd.Series) -> None:
    """Raise BatchError for what Arrow would bend: it is asked before, as it does not say so."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        column, kind = pd.Series(kind.categories), kind.categories.dtype
    try:
        if isinstance(kind, pd.IntervalDtype):
            raise Mixed("an interval is no value of a column; make it text, .astype(str), or keep .left and .right")
        if isinstance(kind, pd.SparseDtype):
            raise Mixed("a sparse column is not kept; make it dense, .sparse.to_dense()")
        if pd.api.types.is_object_dtype(kind):
            check_values(column.to_numpy())
    except Mixed as error:
        raise BatchError(f"column {name!r} of type {column.dtype} cannot be kept: {error}", column=name) from error
    except (ValueError, TypeError, OverflowError) as error:
        message = f"column {name!r} of type {column.dtype} cannot be kept: {error}; make it text, or another type"
        raise BatchError(message, column=name) from error


def _culprit(frame: pd.DataFrame, error: Exception) -> tuple[str, str]:
    """The first column that cannot be converted by itself, and why."""
    for name in frame.columns:
        try:
            pa.Table.from_pandas(frame[[name]], preserve_index=False)
        except _NO_FORM as found:
            return name, str(found) if isinstance(found, UnicodeError) else str(found.args[0] if found.args else found)
    return "", "; ".join(str(part) for part in error.args)


# --- polars -----------------------------------------------------------------------------------------------------------


def _inner(kind: Any) -> list[str]:
    """Names of a polars type and of those in it."""
    found = [str(kind.base_type())]
    for part in (getattr(kind, name, None) for name in ("inner", "key", "value")):
        if hasattr(part, "base_type"):
            found += _inner(part)
    for field in getattr(kind, "fields", None) or ():
        found += _inner(field.dtype)
    return found


def _guarded(convert: Any, *arguments: Any) -> Any:
    """Call into polars: its panics are no Exceptions, and would end the worker."""
    try:
        return convert(*arguments)
    except MemoryError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise BatchError(f"polars cannot convert the table: {error}") from error
        raise
