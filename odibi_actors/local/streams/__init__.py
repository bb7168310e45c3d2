"""``StreamManager``: what is new in files, folders and tables, or is pushed, in batches, on the engine's sources.

A program that asks for batches is what the broker and the workers are to a project: ``desk`` is the broker's part
towards the store and the source actor, ``session`` drives the three, ``feed`` reads and gives. ADR 0028 says why.
"""

from odibi_actors.local.streams.config import StreamConfig, StreamMode, StreamSource
from odibi_actors.local.streams.manager import StreamManager

__all__ = ["StreamConfig", "StreamManager", "StreamMode", "StreamSource"]
