"""A log that grows: what is new, with ties and late rows, also after a crash."""

from __future__ import annotations

import sys

from common import die, folder, in_a_process_that_is_killed, original

from odibi_actors.streaming import StreamManager


def stream() -> StreamManager:
    return StreamManager.from_source("csv", path="sensor_log.csv", mode="incremental", watermark_column="timestamp")


def append(*rows: str) -> None:
    with open("sensor_log.csv", "a") as log:
        log.writelines(f"{row}\n" for row in rows)


def main() -> None:
    with folder("2. A log that grows"):
        append("timestamp,value", "2025-01-01 10:00:00,1", "2025-01-01 11:00:00,2")
        sensors = stream()
        print(sensors.read_batch("sensor_stream"))
        append("2025-01-01 12:00:00,3")
        print("what is new:  ", sensors.read_batch("sensor_stream")["value"].tolist())

        original("dropped rows that tie with the watermark, and late ones")
        append("2025-01-01 12:00:00,4", "2025-01-01 09:30:00,5")
        found = sensors.read_batch("sensor_stream")["value"].tolist()
        print("a tie and late:", found)
        assert found == [4, 5]
        sensors.commit()
        sensors.close()  # for the other process, below

        original("saved the watermark before the rows were processed: a crash lost them")
        append("2025-01-01 13:00:00,6")
        in_a_process_that_is_killed(__file__, "crash")
        found = stream().read_batch("sensor_stream")["value"].tolist()
        print("they come again:", found)
        assert found == [6]


def crash() -> None:
    """Another process: it is killed while it processes its batch."""
    print("another process has", stream().read_batch("sensor_stream")["value"].tolist(), "and is killed", flush=True)
    die()


if __name__ == "__main__":
    crash() if sys.argv[1:] == ["crash"] else main()
