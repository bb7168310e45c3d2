"""Running totals: what a stateful node keeps from one iteration to the next."""

from __future__ import annotations

import pandas as pd

SUMS = ["flights", "cancelled", "late", "miles"]


def per_carrier(clean: pd.DataFrame, state: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The totals of each carrier over all flights so far: published by upsert, and kept for the next iteration."""
    rows = clean.assign(flights=1, miles=clean["distance"])[["carrier", *SUMS]]
    rows[SUMS] = rows[SUMS].astype("int64")
    if state is not None:
        rows = pd.concat([state, rows])
    totals = rows.groupby("carrier", as_index=False)[SUMS].sum().astype(dict.fromkeys(SUMS, "int64"))
    return totals, totals
