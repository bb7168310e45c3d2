"""Files as they arrive: each once, whole, also by a program that is started again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from common import folder, original

from odibi_actors.streaming import StreamManager


def stream() -> StreamManager:
    return StreamManager.from_source("csv", path="incoming", mode="file_watch", pattern="*.csv")


def main() -> None:
    with folder("1. Files as they arrive"):
        Path("incoming").mkdir()
        for day, rows in (("monday", 3), ("tuesday", 4)):
            pd.DataFrame({"day": [day] * rows, "sales": range(rows)}).to_csv(f"incoming/{day}.csv", index=False)
        for batch in stream().read(max_iterations=1):
            print(batch.groupby("day").sum())

        original("took half-written files, and never came back to them")
        with open("incoming/wednesday.csv", "w") as file:
            file.write("day,sales\nwednesday,1")
            file.flush()
            print("while it is written:", stream().read_batch())
            file.write("000\n")
        found = stream().read_batch()
        print("once it is closed:  ", found.to_dict("records"))
        assert found["sales"].tolist() == [1000]

        original("forgot what it had read when it was started again")
        again = stream().read_batch()
        print("a new manager finds:", again)
        assert again is None


if __name__ == "__main__":
    main()
