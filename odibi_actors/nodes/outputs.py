"""Outputs of nodes: read where they are kept, and compared with their digests."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odibi_actors.errors import ConflictError, NotFoundError, OdibiError

if TYPE_CHECKING:
    import pyarrow as pa


def read(data_dir: Path, shown: Mapping[str, Any]) -> pa.Table:
    """The output of a node, from an answer to ``node.show``. Raises NotFoundError: there is none, or it is no longer
    kept; OdibiError: it is damaged, or cannot be read from here."""
    name = f"{shown['node']} of {shown['pipeline']} iteration {shown['iteration']}"
    output = shown.get("output")
    if not output or not output["where"]:
        raise NotFoundError(f"{name} has no output: it is {_state(shown)}")
    if output["where"] == "inline":
        return _inline(name, output, shown["iteration_state"])
    if output["where"] == "spool":
        return _spooled(name, data_dir, output, shown["iteration_state"])
    return _part(name, output)


def there(data_dir: Path, shown: Mapping[str, Any]) -> str | None:
    """Whether an output that was not read is kept: "yes", "no" with the reason, or None where that is not known."""
    output = shown.get("output")
    name = f"{shown['node']} of {shown['pipeline']} iteration {shown['iteration']}"
    if not output or output.get("rows_of_table") or output["host"] not in ("", socket.gethostname()):
        return None
    path = data_dir / "spool" / output["path"]
    if path.exists():
        return "yes"
    return f"no: {_gone(name, shown['iteration_state']) if output['where'] == 'spool' else f'{path} is not there'}"


def _gone(name: str, state: str) -> str:
    return (
        f"the output of {name} is no longer kept: its iteration is {state}, and outputs of more than 8 KiB go when "
        f"it is committed or cancelled; {_instead(name)}"
    )


def _instead(name: str) -> str:
    node, _, pipeline, *_ = name.split()
    return (
        f"`odibictl try {pipeline} --node {node}` shows what it makes of the files that are there; its sinks keep "
        "their parts (`odibictl sink list`)"
    )


def _state(shown: Mapping[str, Any]) -> str:
    return "not run yet" if shown["state"] == "none" else str(shown["state"])


def _inline(name: str, output: Mapping[str, Any], state: str) -> pa.Table:
    import xxhash

    from odibi_actors.batches import ipc

    data = output["data"]
    if data is None:
        raise NotFoundError(
            f"the output of {name} is no longer kept since the iteration was {state}: kept are those of the newest "
            f"iterations of a pipeline, as many as its checkpoint.keep_last says; {_instead(name)}"
        )
    if xxhash.xxh3_128_hexdigest(data) != output["digest"]:
        raise OdibiError(f"the output of {name} does not match its digest: it is damaged, and is not shown")
    return ipc.decode(data, output["rows"])


def _spooled(name: str, data_dir: Path, output: Mapping[str, Any], state: str) -> pa.Table:
    import pyarrow as pa

    from odibi_actors.batches import ipc

    if output["host"] not in ("", socket.gethostname()):
        raise OdibiError(f"the output of {name} is in the spool of host {output['host']}; look there")
    path = data_dir / "spool" / output["path"]
    if not path.exists():
        raise NotFoundError(_gone(name, state))
    _compare(name, path, output["digest"])
    return ipc.decode(pa.memory_map(str(path)), output["rows"])


def _part(name: str, output: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    from odibi_actors.kinds.registry import sink_of
    from odibi_actors.model import Target

    target = output["path"]
    later = output.get("replaced_by")
    if output.get("rows_of_table"):
        _, database, table = output["at"]
        since = f", which iteration {later} overwrites" if later else ""
        raise NotFoundError(f"{name} has published its rows to table {table} of {database}{since}; look at them there")
    if not output["rows"] and output["where"] == "published" and not later and not os.path.exists(target):
        raise NotFoundError(f"{name} had no rows, and the sink none before: no file was made of them")
    if not os.path.exists(target):
        gone = f"is no longer kept: iteration {later} has replaced it" if later else f"is not at {target} any more"
        if output["where"] == "published" and _is_joined(Path(target)):
            gone = "was joined with others by `odibictl sink compact`, and is not kept by itself"
        raise NotFoundError(f"what {name} has {output['where']} {gone}")
    _compare(name, Path(target), output["digest"])
    at = Target(*output["at"])
    try:
        return sink_of(at.sink).rows(at, Path(target), output["name"])
    except (pa.ArrowInvalid, ConflictError, OSError) as error:
        raise OdibiError(f"{target} cannot be read: {error}") from None


def _is_joined(part: Path) -> bool:
    from odibi_actors.nodes.sinks.joined import Lists
    from odibi_actors.nodes.sinks.manifest import MANIFESTS

    return Lists(part.parent.parent if part.parent.name == MANIFESTS else part.parent).speak_for(part)


def _compare(name: str, path: Path, digest: str) -> None:
    from odibi_actors.batches.files import digest_file

    try:
        found, _ = digest_file(path)
    except OSError as error:
        raise OdibiError(f"{path} cannot be read: {error.strerror}") from None
    if found != digest:
        raise OdibiError(f"the output of {name}, {path}, does not match its digest: it is damaged, and is not shown")
