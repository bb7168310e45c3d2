"""All five, one after the other: ``python examples/demos``."""

from __future__ import annotations

import continuous
import file_watch
import incremental
import resume
import schedules

for demo in (file_watch, incremental, resume, schedules, continuous):
    demo.main()
print("\nEach row once, whatever happened.")
