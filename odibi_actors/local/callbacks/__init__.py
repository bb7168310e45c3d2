"""Python callbacks on schedules: the real scheduler and source actors in one thread, callbacks in threads of their own.

``desk`` is the broker's part, small: it gives the scheduler its schedules, takes what is due by compare-and-set of
places, and writes the real records to the real checkpoint store. ``manager`` is what users see.
"""

from odibi_actors.local.callbacks.manager import ScheduleManager
from odibi_actors.local.callbacks.status import Schedule, ScheduleMode

__all__ = ["Schedule", "ScheduleManager", "ScheduleMode"]
