"""The folders of a life: files arrive, good and bad, whole or written slowly; somebody puts a sound one in the place of
one that could not be read; references are replaced, go missing and come back."""

from __future__ import annotations

import random
from collections.abc import Callable

from odibi_actors.config.model import NodeSpec, PipelineSpec
from odibi_actors.messages import SOURCE
from odibi_actors.model import LIVE, Position
from odibi_actors.sim import columns, log
from odibi_actors.sim.columns import MIXED, OTHER, SHAPE
from odibi_actors.sim.discovery import SimSourceDriver
from odibi_actors.sim.host import Host, SimFile
from odibi_actors.sim.places import Place
from odibi_actors.sim.truth import Truth
from odibi_actors.sim.world import World


class Landing:
    """All files that were ever delivered. ``halting``: generator of bad files that halt their pipeline."""

    def __init__(self, seed: int, world: World, host: Host, truth: Truth) -> None:
        self._world, self._host, self._truth = world, host, truth
        self.halting = random.Random(f"malformed files that halt {seed}")
        self.shapes = random.Random(f"columns of files {seed}")
        self.odd = self.shapes.random() < 0.5
        self.changing = False  # there are files with new columns
        self.delivered: dict[Place, SimFile] = {}
        self.fixed: set[str] = set()  # files that were written again
        self.unheard: set[str] = set()  # files of which an event was lost
        self.fed: dict[str, Callable[[PipelineSpec, NodeSpec, random.Random], object]] = {}  # mode -> who brings rows
        self._inode = self._row = 0
        self._contents: dict[tuple[Place, str], list[int]] = {}  # (file of a reference, its digest) -> rows

    def deliver(
        self, pipeline: PipelineSpec, node: NodeSpec, rng: random.Random, sound: bool = False
    ) -> SimFile | None:
        """A file arrives, which is returned; ``sound``: a good one. Where no files are read rows are brought."""
        assert node.read is not None
        if node.read.mode in self.fed:
            self.fed[node.read.mode](pipeline, node, rng)
            return None
        rows = self.rows_of_a_file(rng)
        self._inode += 1
        folder = node.read.connection.path
        identity = f"f{self._inode:04d}"
        ordered = node.read.mode == log.MODE
        if ordered:
            partition = rng.choice(log.PARTITIONS)
            records = self._host.logs.setdefault(folder, {}).setdefault(partition, [])
            identity = log.record(partition, len(records))
        whole = node.read.pinned
        # The first file of a source teaches the schema and must be good.
        sound = sound or whole
        first = not any(key[:2] == (pipeline.name, node.name) for key in self.delivered)
        malformed = not (first or sound) and pipeline.on_error == "dead_letter" and rng.random() < 0.1
        if pipeline.on_error == "halt" and not (first or sound):
            malformed = self.halting.random() < 0.03
        mtime = int(self._world.now * 1e9)
        file = SimFile(identity, rows, len(rows), mtime, self._inode, malformed)
        if not whole:
            file.shape = self._known(pipeline.name, node.name) if sound else self._odd_shape(file, node)
            file.shape = file.shape or SHAPE * bool(rows)
        self._host.folders.setdefault(folder, {})[identity] = file
        self.delivered[pipeline.name, node.name, identity] = file
        if ordered:
            file.whole = True
            records.append(file)
            self._world.count("record of a log")
        elif rng.random() < 0.2 and not whole:
            # Written slowly: it grows, with an event each time, and is closed at the end.
            file.size = 0
            self._hint(folder, identity, "created")
            self._grow(file, folder, rng.randint(1, 4), rng)
        else:
            file.whole = True
            self._hint(folder, identity, "moved")
        self._contents[(pipeline.name, node.name, identity), file.digest] = file.rows
        return file

    def link(self, folder: str, path: str) -> None:
        """A folder is known by another path as well."""
        self._host.folders[path] = self._host.folders.setdefault(folder, {})

    def references(self, pipeline: PipelineSpec) -> list[tuple[NodeSpec, SimFile]]:
        """The files of its references that are there, and were never read once only."""
        return [
            (node, file)
            for node in pipeline.nodes
            if node.read is not None and node.read.pinned
            for file in self._host.folders.get(node.read.connection.path, {}).values()
            if not self._truth.taken((pipeline.name, node.name, file.identity))
        ]

    def replace(self, pipeline: str, node: NodeSpec, file: SimFile, rng: random.Random) -> None:
        """A reference gets other rows, and looks as before, or nearly so: written in place, or renamed over it; with
        another size or not; with the former mtime; or all of it within one tick of the file system's clock."""
        assert node.read is not None
        file.rows = list(range(self._row, self._row + len(file.rows)))
        self._row += len(file.rows)
        how = rng.choice(["size", "mtime", "ctime", "nothing"])
        now = int(self._world.now * 1e9)
        if how == "size":
            file.size += 1
        if how in ("size", "mtime"):
            file.mtime_ns = now
        if how != "nothing":
            file.ctime_ns = now
            if rng.random() < 0.5:
                self._inode += 1
                file.inode = self._inode
        self._contents[(pipeline, node.name, file.identity), file.digest] = file.rows
        self._world.count(f"reference replaced, another {how}")
        self._hint(node.read.connection.path, file.identity, rng.choice(["moved", "closed"]))

    def take_away(self, node: NodeSpec, file: SimFile, seconds: float) -> None:
        """A file of a reference is not there for a while."""
        assert node.read is not None
        folder = node.read.connection.path
        del self._host.folders[folder][file.identity]
        self._hint(folder, file.identity, "deleted")
        self._world.after(seconds, self._bring_back, folder, file)

    def _bring_back(self, folder: str, file: SimFile) -> None:
        file.ctime_ns = int(self._world.now * 1e9)
        self._host.folders[folder][file.identity] = file
        self._hint(folder, file.identity, "moved")

    def deliver_hot(self, pipeline: PipelineSpec) -> None:
        """A file arrives where a schedule looks for one."""
        self._inode += 1
        folder, identity = f"/hot/{pipeline.name}", f"f{self._inode:04d}"
        file = SimFile(identity, [], 1, int(self._world.now * 1e9), self._inode, malformed=False)
        file.whole = True
        self._host.folders.setdefault(folder, {})[identity] = file
        self._hint(folder, identity, "moved")

    def bring_columns(self, pipeline: PipelineSpec, node: NodeSpec, rng: random.Random) -> None:
        """A file arrives that has other columns."""
        file = self.deliver(pipeline, node, rng)
        if file is not None and not file.malformed and file.rows:
            file.shape = columns.some(rng)

    def other_columns(self, pipeline: str, source: str, identity: str) -> bool:
        """Whether these are all that is wrong with a file."""
        file, known = self.delivered.get((pipeline, source, identity)), self._truth.pins.known(pipeline, source)
        if file is None or file.malformed or file.poison or identity in self.fixed:
            return False
        return file.shape not in (b"", known) and known != MIXED

    def malform(self, pipeline: PipelineSpec, node: NodeSpec, rng: random.Random) -> None:
        """A file arrives that cannot be read, where that is a dead letter."""
        file = self.deliver(pipeline, node, rng)
        known = self._truth.pins.known(pipeline.name, node.name) is not None
        read = node.read is not None and not node.read.pinned
        if file is not None:
            file.malformed = known and read and bool(file.rows) and pipeline.on_error == "dead_letter"

    def come(self, pipeline: str, node: NodeSpec, identity: str, rows: list[int]) -> None:
        """An event, or a row of a table, is there to be read."""
        assert node.read is not None
        self._inode += 1
        file = SimFile(identity, rows, len(rows), int(self._world.now * 1e9), self._inode, malformed=False)
        file.whole = True
        self._host.folders.setdefault(node.read.connection.path, {})[identity] = file
        self.delivered[pipeline, node.name, identity] = file

    def poison(self, rng: random.Random) -> bool:
        """A file kills every worker, or makes the code raise, until it is fixed. False: there is none for it."""
        files = [file for key, file in self.delivered.items() if not self._truth.taken(key)]
        if files:
            rng.choice(files).poison = rng.choice(["kills", "raises"])
        return bool(files)

    def cure(self) -> None:
        """No file harms its reader any more."""
        for file in self.delivered.values():
            file.poison = ""

    def fix(self, places: list[Place], whole: bool = False) -> None:
        """Somebody writes a sound file in place of a malformed one; where all are read each time, ``whole``, also of
        one that was read well."""
        for place in places:
            file = self.delivered[place]
            file.poison = ""
            known = self._known(*place[:2]) or SHAPE
            if file.malformed or (file.shape not in (b"", known) and (whole or not self._read(place))):
                file.malformed, file.size, file.mtime_ns = False, file.size + 1, int(self._world.now * 1e9)
                file.shape = known if file.rows else b""
                self.fixed.add(file.identity)
                self._world.count("fixed file")

    def rows(self, pipeline: str, source: str, position: Position) -> list[int]:
        """What a planned file has to give."""
        rows = []
        for name in log.records(position):
            place = (pipeline, source, name)
            rows += self._contents.get((place, position.digest), self.delivered[place].rows)
        return rows

    def rows_of_a_file(self, rng: random.Random) -> list[int]:
        """Rows that are nowhere else."""
        rows = list(range(self._row, self._row + rng.randint(1, 12)))
        self._row += len(rows)
        return rows

    def some_rows(self, rng: random.Random) -> list[int]:
        """Rows that came, or that may come."""
        return sorted(rng.sample(range(self._row + 100), 30))

    def _known(self, pipeline: str, source: str) -> bytes:
        """A shape that the source takes; b"" while it has none."""
        known = self._truth.pins.known(pipeline, source)
        return SHAPE if known == MIXED else known

    def _odd_shape(self, file: SimFile, node: NodeSpec) -> bytes:
        """Some files have other columns, or headers alone: then they have no rows."""
        if self.changing and node.read is not None and node.read.mode != log.MODE:
            return columns.some(self.shapes) if self.shapes.random() < 0.3 else SHAPE
        if not self.odd or self.shapes.random() < 0.7:
            return SHAPE
        if self.shapes.random() < 0.3:
            file.rows.clear()
            return b""
        return OTHER

    def _hint(self, folder: str, identity: str, kind: str) -> None:
        driver = self._world.processes[SOURCE].driver
        if isinstance(driver, SimSourceDriver) and not driver.hint(folder, identity, kind):
            self.unheard.add(identity)

    def _grow(self, file: SimFile, folder: str, steps: int, rng: random.Random) -> None:
        file.mtime_ns = int(self._world.now * 1e9)
        file.size += 1
        if steps == 0:
            file.whole = True
            self._hint(folder, file.identity, "closed")
        else:
            self._hint(folder, file.identity, "modified")
            self._world.after(rng.uniform(0.01, 0.3), self._grow, file, folder, steps - 1, rng)

    def _read(self, place: Place) -> bool:
        """Whether what the file holds is committed: nobody writes it again."""
        entries = self._truth.places.owners(place[0], LIVE).get(place)
        if not entries or entries[-1].letter:
            return False
        return self._truth.iterations[place[0], entries[-1].iteration].state == "committed"
