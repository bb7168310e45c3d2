"""What users say of a source, in odibi_core's words."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class StreamMode(StrEnum):
    """How a source gives data. FILE_WATCH: each file of a folder once; INTERVAL: all there is, every so many seconds;
    INCREMENTAL: what is new in files that grow, or in a table; EVENT: what is pushed."""

    FILE_WATCH = "file_watch"
    INTERVAL = "interval"
    INCREMENTAL = "incremental"
    EVENT = "event"


@dataclass
class StreamConfig:
    """``source_path``: a folder, a file, or a database; of EVENT nothing. ``interval_seconds``: of INTERVAL.
    ``file_pattern``: of a folder. ``watermark_column``: of INCREMENTAL, by which rows are known when a file that was
    read was replaced, and how far it was read is shown. ``watermark_file``: where that is kept as a text; default
    ``NAME_watermark.txt`` beside the checkpoints. ``batch_size``: rows of a batch at most. ``read_options``: of the
    reader; docs/python-streams.md lists them."""

    mode: StreamMode | str
    source_path: str | os.PathLike[str] = ""
    interval_seconds: float = 60
    file_pattern: str = "*.*"
    watermark_column: str | None = None
    watermark_file: str | os.PathLike[str] | None = None
    batch_size: int = 1000
    format: str = "csv"
    read_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError."""
        self.mode = StreamMode(self.mode)
        if not isinstance(self.batch_size, int) or isinstance(self.batch_size, bool) or self.batch_size < 1:
            raise ValueError(f"batch_size: {self.batch_size!r} is not a number of rows from 1 on")
        if not self.interval_seconds >= 0:
            raise ValueError(f"interval_seconds: {self.interval_seconds!r} is no number of seconds")
        if self.mode is not StreamMode.EVENT and not os.fspath(self.source_path):
            raise ValueError(f"source_path: mode {self.mode.value} reads a file, a folder or a database: say which")


@dataclass
class StreamSource:
    """A source of a manager, as it is now; changing it changes nothing. ``processed_files``: relative to its folder.
    ``last_run``: when its newest batch was given, an aware datetime."""

    name: str
    config: StreamConfig
    last_watermark: Any = None
    last_run: datetime | None = None
    processed_files: set[str] = field(default_factory=set)
    is_active: bool = False
