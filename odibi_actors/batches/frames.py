"""Tables as data frames and back.

pandas frames are of ``pandas.ArrowDtype`` throughout: a column has the same type whether or not it happens to hold a
null this time (numpy would turn integers with a gap into doubles, dates and decimals into objects), ``.str``, ``.dt``,
``.fillna`` and comparisons work, conversion costs nothing, and writing into a frame never reaches the shared memory,
because such columns are replaced, not overwritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from odibi_actors.batches.normalise import check_names, normalise
from odibi_actors.errors import BatchError, MissingExtraError

if TYPE_CHECKING:
    import polars as pl

POLARS_HINT = "polars is not installed; run: pip install 'odibi-actors[polars]'"


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """The table as a frame of ``pandas.ArrowDtype`` columns that the receiver may change as it likes."""
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def from_pandas(frame: pd.DataFrame) -> pa.Table:
    """The frame's columns as a table; its index is dropped. Raises BatchError.

    An index with a name is refused: it holds data (``groupby`` puts the keys there) that would be lost.
    """
    if any(name is not None for name in frame.index.names) or frame.index.nlevels > 1:
        names = ", ".join(str(name) for name in frame.index.names)
        raise BatchError(f"the frame has an index with data ({names}), which is not kept: return frame.reset_index()")
    odd = [name for name in frame.columns if not isinstance(name, str)]
    if odd:
        raise BatchError(f"column names must be text, not {odd[0]!r} ({type(odd[0]).__name__})")
    check_names([str(name) for name in frame.columns])
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except MemoryError:  # pyarrow's is an ArrowException too
        raise
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise BatchError(f"the frame has no Arrow form: {'; '.join(str(part) for part in error.args)}") from error
    return normalise(table)


def to_polars(table: pa.Table) -> pl.DataFrame:
    """The table as a polars frame. Raises MissingExtraError."""
    try:
        import polars
    except ModuleNotFoundError as error:
        raise MissingExtraError(POLARS_HINT) from error
    frame = polars.from_arrow(table)
    assert isinstance(frame, polars.DataFrame)
    return frame


def from_polars(frame: pl.DataFrame) -> pa.Table:
    """The polars frame as a table. Raises BatchError."""
    return normalise(frame.to_arrow())
