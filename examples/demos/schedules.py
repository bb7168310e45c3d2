"""Functions by the clock, and when files arrive: no two at once, failures seen, no file twice."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from common import folder, original

from odibi_actors.scheduler import ScheduleManager


def main() -> None:
    logging.getLogger("odibi_actors.scheduler").setLevel(logging.CRITICAL)  # failures are shown below
    running, most, seen = threading.Semaphore(), [0], list[str]()

    def slow() -> None:
        most[0] = max(most[0], 1 if running.acquire(blocking=False) else 2)
        time.sleep(1.2)  # longer than the interval
        running.release()

    def broken() -> None:
        raise ValueError("no such table")

    with folder("4. Functions on schedules"):
        Path("incoming").mkdir()
        Path("incoming/a.csv").write_text("n\n1\n")
        with ScheduleManager() as scheduler:
            scheduler.schedule_interval(1, slow)
            scheduler.schedule_interval(1, broken)
            scheduler.schedule("0 2 * * 1-5", print, args=("nightly",), name="nightly")
            scheduler.schedule_file_watch("incoming", lambda path: seen.append(path.name), name="arrived")
            scheduler.wait_for(lambda now: now["slow"]["run_count"] >= 2 and now["arrived"]["run_count"] >= 1, 60)
            status = scheduler.get_status()["schedules"]
        for name, one in status.items():
            print(f"{name:8} {one['expression']:30} runs {one['run_count']}, next {one['next_run']}")

        original("let copies of a slow job overlap")
        print(f"at most {most[0]} of it ran at a time; skipped: {status['slow']['skipped']}")
        assert most[0] == 1
        original("kept no trace of failures")
        print(status["broken"]["error_count"], "failed:", status["broken"]["last_error"].splitlines()[-1])
        original("fired again for the same files after a restart")
        with ScheduleManager() as scheduler:
            scheduler.schedule_file_watch("incoming", lambda path: seen.append(path.name), name="arrived")
            Path("incoming/b.csv").write_text("n\n2\n")
            scheduler.wait_for(lambda now: now["arrived"]["run_count"] >= 2 and not now["arrived"]["running"], 60)
        print("files seen:", seen)
        assert seen == ["a.csv", "b.csv"]


if __name__ == "__main__":
    main()
