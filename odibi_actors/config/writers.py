"""Which sink of a project writes the files that a source of it reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from odibi_actors.config.model import PipelineSpec, ReadSpec
from odibi_actors.config.patterns import lines

_WILD = set("*?[")


def writer_of(pipelines: Iterable[PipelineSpec], read: ReadSpec) -> str:
    """``PIPELINE.NODE`` of the first sink whose folder is, or holds, one in which ``read`` looks; "" for none."""
    places = list(map(PurePosixPath, _folders(read)))
    for spec in pipelines:
        for node in spec.nodes:
            write = node.write
            if write is None or write.path is None or write.connection.type != read.connection.type:
                continue
            folder = PurePosixPath(write.connection.path) / write.path
            if any(place.is_relative_to(folder) for place in places):
                return f"{spec.name}.{node.name}"
    return ""


def _folders(read: ReadSpec) -> list[str]:
    """Where the patterns begin to look: each without what is no folder's name."""
    found = []
    for pattern in lines(read.pattern)[0]:
        *folders, _name = pattern.split("/")
        wild = next((place for place, one in enumerate(folders) if _WILD & set(one)), len(folders))
        found.append("/".join([read.connection.path, read.path, *folders[:wild]]))
    return found
