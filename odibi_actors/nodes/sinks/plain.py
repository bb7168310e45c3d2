"""What a kind of sink need not say for itself: the plainest answers of ``kinds.sink.Sink``, for a table of something
that is a file, or a folder of such."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.kinds.connection import OPEN, Access
from odibi_actors.kinds.sink import Kept
from odibi_actors.model import Target

if TYPE_CHECKING:
    import pyarrow as pa

    from odibi_actors.config.model import WriteSpec
    from odibi_actors.nodes.failures import Failed
    from odibi_actors.nodes.sinks.owner import Mark, Owner


class PlainSink:
    """To inherit from. Left to say: ``name``, ``about``, ``mark``, ``missing``, ``kept``, ``delete``, ``open``."""

    name = ""
    about = ""
    needs: Sequence[str] = ("table",)
    takes: Sequence[str] = ()
    modes: Sequence[str] = ("append",)
    flat = ""
    unit = "row"

    def misplaced(self, path: str) -> tuple[str, str]:
        return "", ""

    def reserved(self, at: Target) -> tuple[str, str]:
        return "", ""

    def folded(self, at: Target) -> Target:
        return at

    def place(self, at: Target) -> Path | None:
        return Path(at.connection)

    def called(self, at: Target) -> tuple[str, tuple[str, str]]:
        return f"{at.locator} of {at.connection}", ("delete that", "delete what it holds")

    def mark(self, at: Target, access: Access = OPEN) -> Mark | None:
        raise NotImplementedError

    def check(self, write: WriteSpec, owner: Owner, former: Collection[Owner] = (), access: Access = OPEN) -> None:
        return None

    def newest(self, at: Target, nodes: Collection[str]) -> str:
        return ""

    def holds(self, at: Target, access: Access = OPEN) -> tuple[int, int]:
        return 0, 0

    def missing(
        self, at: Target, sink: Sequence[str], iteration: int, digest: str, owners: Sequence[Any], access: Access = OPEN
    ) -> str:
        raise NotImplementedError

    def rows(self, at: Target, path: Path, name: str) -> pa.Table:
        import pyarrow as pa

        from odibi_actors.batches import ipc

        with pa.memory_map(str(path)) as file:  # a staged part; published ones are rows of the table
            return ipc.decode(file, pa.ipc.open_file(file).read_all().num_rows)

    def kept(
        self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]], access: Access = OPEN
    ) -> Kept | None:
        raise NotImplementedError

    def delete(
        self, at: Target, owners: Sequence[Owner], given_up: Sequence[Collection[int]], access: Access = OPEN
    ) -> None:
        raise NotImplementedError

    def stand_in(self, folder: Path) -> Path | None:
        return folder

    def resemble(self, write: WriteSpec, stand_in: Path, owner: Owner, access: Access = OPEN) -> None:
        return None

    def failure(self, at: Target, error: Exception) -> Failed | None:
        return None
