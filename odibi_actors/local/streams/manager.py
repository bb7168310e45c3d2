"""``StreamManager``: batches of what is new in files, folders, tables, or is pushed; each row in exactly one that is
processed."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import xxhash

from odibi_actors.local.streams.config import StreamConfig, StreamMode, StreamSource
from odibi_actors.local.streams.feed import Feed
from odibi_actors.local.streams.floors import Floors
from odibi_actors.local.streams.opened import opened, released
from odibi_actors.local.streams.waiting import wait
from odibi_actors.local.streams.watermark import WatermarkFile

CHECKPOINTS: Final = Path("artifacts/checkpoints")
_NAME: Final = re.compile(r"[^/\0]{1,150}")


class StreamManager:
    """``checkpoint_dir``: where it is kept what of each source is processed, in ``streams/``.

    A batch is processed once the next one of its source is asked for, ``commit`` is called, a ``DAGExecutor`` has
    succeeded with it in ``data_map``, or the process ends normally. What was not processed comes again. Every method
    may be called from any thread.
    """

    def __init__(self, checkpoint_dir: str | os.PathLike[str] = CHECKPOINTS) -> None:
        self.checkpoint_dir = Path(checkpoint_dir)
        self._kept = Path(os.path.abspath(checkpoint_dir))
        self._configs: dict[str, StreamConfig] = {}
        self._unnamed: dict[str, list[str]] = {}  # sources without a name -> those that odibi_core may have given
        self._active: dict[str, bool] = {}
        self._lock = threading.RLock()
        self._stops = 0  # how often all were stopped
        self._woken: dict[int, int] = {}  # pipes of those who wait: reading end -> writing end

    @classmethod
    def from_source(
        cls,
        format: str,
        path: str | os.PathLike[str] = "",
        mode: StreamMode | str = StreamMode.FILE_WATCH,
        interval: float = 60,
        pattern: str = "*.*",
        watermark_column: str | None = None,
        name: str | None = None,
        *,
        checkpoint_dir: str | os.PathLike[str] = CHECKPOINTS,
        watermark_file: str | os.PathLike[str] | None = None,
        batch_size: int = 1000,
        **read_options: Any,
    ) -> StreamManager:
        """A manager with one source. ``name``: by default that of the file or folder. See ``StreamConfig`` for the
        rest. Raises ValueError."""
        manager = cls(checkpoint_dir)
        config = StreamConfig(
            mode, path, interval, pattern, watermark_column, watermark_file, batch_size, format, read_options
        )
        own = name or Path(os.path.abspath(path)).stem or "stream"
        manager.add_source(own, config)
        if name is None:
            manager._unnamed[own] = [f"{format}_{config.mode}", f"{format}_stream"]
        return manager

    def add_source(self, name: str, config: StreamConfig) -> None:
        """Take a source in. Nothing is read, nor looked for, before it is asked for. Raises ValueError: a name that is
        taken or no file can have, or what is wrong with the config."""
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise ValueError(f"name: {name!r} is no name: a file is called so")
        with self._lock:
            if name in self._configs:
                raise ValueError(f"name: there is a source {name!r} already")
            Feed(name, config, self._folder(name, config), None)  # is it sound?
            self._configs[name], self._active[name] = config, False

    # --- reading ------------------------------------------------------------------------------------------------------

    def read_batch(self, source_name: str | None = None, engine: str = "pandas") -> Any:
        """The next batch of a source, at most ``batch_size`` rows; None: there is nothing new. It never waits for data.
        A lone source answers to any name. ``engine``: "pandas" (ordinary frames), "polars", "arrow".

        Raises KeyError (no such source), ValueError naming the file, line and column that cannot be read, OSError,
        ConflictError (another process reads it), MissingExtraError (the engine is not installed), StoreError."""
        name = self._name(source_name)
        self._active[name] = True
        return self._feed(name, source_name).next(engine)

    def read(
        self,
        source_name: str | None = None,
        engine: str = "pandas",
        max_iterations: int | None = None,
        sleep_seconds: float = 1.0,
    ) -> Generator[Any, None, None]:
        """The batches of a source, or of all, as they come. A round takes all that is there, in batches; then it is
        waited for more, at most ``sleep_seconds``. It ends after ``max_iterations`` rounds, or with ``stop``. Raises as
        ``read_batch``."""
        names = [self._name(source_name)] if source_name is not None else list(self._configs)
        self._active.update(dict.fromkeys(names, True))
        rounds, stops = 0, self._stops
        while max_iterations is None or rounds < max_iterations:
            rounds += 1
            for name in names:
                yield from self._round(name, source_name, engine, stops)
            if not self._goes_on(names, stops):
                return
            if max_iterations is None or rounds < max_iterations:
                self._wait([self._feed(name) for name in names], names, sleep_seconds, stops)

    def _round(self, name: str, asked: str | None, engine: str, stops: int) -> Generator[Any, None, None]:
        """All that is there of one source."""
        look = True
        while self._goes_on([name], stops):
            feed = self._feed(name, asked)
            batch = feed.next(engine, look=look)
            if batch is None:
                return
            look = False
            try:
                yield batch
            except GeneratorExit:
                feed.left(batch)
                raise
            del batch

    def _goes_on(self, names: list[str], stops: int) -> bool:
        return self._stops == stops and any(self._active[name] for name in names)

    def _wait(self, feeds: list[Feed], names: list[str], seconds: float, stops: int) -> None:
        """Until there may be something new, or it is to end."""
        out, into = os.pipe()
        try:
            with self._lock:
                if not self._goes_on(names, stops):
                    return
                self._woken[out] = into
            wait(feeds, out, seconds)
        finally:
            with self._lock:
                self._woken.pop(out, None)
                os.close(into)
            os.close(out)

    def stop(self, source_name: str | None = None) -> None:
        """End ``read`` of a source, or of all, also where it waits; from any thread. What is open stays open."""
        with self._lock:
            names = [self._name(source_name)] if source_name is not None else list(self._configs)
            self._active.update(dict.fromkeys(names, False))
            self._stops += source_name is None
            for into in self._woken.values():
                os.write(into, b"\0")

    # --- what becomes of batches --------------------------------------------------------------------------------------

    def commit(self, source_name: str | None = None) -> None:
        """What was given of a source, or of all, is processed: it is on disk when this returns. Raises StoreError."""
        for name in [self._name(source_name)] if source_name is not None else list(self._configs):
            self._feed(name).processed()

    def rollback(self, source_name: str | None = None) -> None:
        """What was given last of a source, or of all, and is not processed, comes again."""
        for name in [self._name(source_name)] if source_name is not None else list(self._configs):
            self._feed(name).failed()

    def set_aside(self, source_name: str | None = None) -> list[str]:
        """Give up what cannot be read: of a file of which batches were given the rest, else the next file or range.
        Returns what is never read again. Raises as ``read_batch``."""
        return self._feed(self._name(source_name)).set_aside()

    def push(self, source_name: str, rows: Any, *, key: str | None = None) -> int:
        """Push rows to a source of mode EVENT: a frame of pandas or polars, a table of pyarrow, or dicts. They are on
        disk when this returns. Their columns are those of the first push, unless ``read_options`` has a ``schema``.
        ``key``: pushed again with the same key and rows, they are there once. Returns the number of rows. Raises
        ValueError, OdibiError: what does not fit, and nothing of it was taken."""
        return self._feed(self._name(source_name)).push(rows, key)

    # --- what people see ----------------------------------------------------------------------------------------------

    @property
    def sources(self) -> dict[str, StreamSource]:
        """The sources by name, as they are now."""
        found = {}
        for name, config in self._configs.items():
            if not self._folder(name, config).exists():
                found[name] = StreamSource(name, config)  # nothing of it was ever read
                continue
            feed = self._feed(name)
            found[name] = StreamSource(
                name, config, feed.watermark(), feed.last_run(), set(feed.files()), self._active[name]
            )
        return found

    def get_status(self) -> dict[str, dict[str, Any]]:
        """Source -> ``mode``; ``is_active``: it was read, and not stopped; ``last_run``: when its newest batch was
        given, an aware datetime or None; ``last_watermark``: the highest value that is processed, or None;
        ``processed_files_count``: files that were read, those whose batches are open included."""
        return {
            name: {
                "mode": str(one.config.mode),
                "is_active": one.is_active,
                "last_run": one.last_run,
                "last_watermark": one.last_watermark,
                "processed_files_count": len(one.processed_files),
            }
            for name, one in self.sources.items()
        }

    # --- its end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop, and release what it holds; what is open, and not committed, comes again. Another manager may go on."""
        self.stop()
        for name, config in self._configs.items():
            released(self._folder(name, config), self)

    def __enter__(self) -> StreamManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is open is processed, unless an exception ends it."""
        if error is None:
            self.commit()
        self.close()

    # --- names --------------------------------------------------------------------------------------------------------

    def _name(self, name: str | None) -> str:
        with self._lock:
            if name in self._configs:
                assert name is not None
                return name
            if len(self._configs) == 1:
                return next(iter(self._configs))
            asked = "say which source is meant" if name is None else f"there is no source {name!r}"
            raise KeyError(f"{asked}; there are: {', '.join(self._configs) or 'none'}")

    def _folder(self, name: str, config: StreamConfig) -> Path:
        """Where the store of a source is. Another path is another source: it was not read. Both may move together."""
        path = os.path.relpath(os.path.abspath(config.source_path), self._kept) if config.source_path else ""
        told = f"{config.mode}\0{path}\0{config.read_options.get('table', '')}\0{config.read_options.get('query', '')}"
        return self._kept / "streams" / f"{name}-{xxhash.xxh3_64_hexdigest(told.encode())[:8]}"

    def _feed(self, name: str, asked: str | None = None) -> Feed:
        config = self._configs[name]
        folder = self._folder(name, config)
        return opened(folder, self, lambda: Feed(name, config, folder, self._floors(name, config, asked)))

    def _floors(self, name: str, config: StreamConfig, asked: str | None) -> Floors | None:
        if config.mode is not StreamMode.INCREMENTAL or config.watermark_column is None:
            return None
        own = config.watermark_file
        file = WatermarkFile(Path(own) if own is not None else self._kept / f"{name}_watermark.txt")
        others = [one for one in (asked, *self._unnamed.get(name, ())) if one and one != name]
        former = [self._kept / f"{one}_watermark.txt" for one in others] if own is None else []
        return Floors(name, config.watermark_column, file, former)
