"""``CheckpointManager``: checkpoints of DAGs that a script keeps, as JSON files that anybody can read.

``document`` says what a checkpoint is and how it stands in its file, ``folder`` keeps these files, ``outputs`` keeps
what nodes returned, ``manager`` is what users see.
"""

from odibi_actors.local.checkpoints.document import Checkpoint, NodeCheckpoint
from odibi_actors.local.checkpoints.manager import CheckpointManager, CheckpointMode

__all__ = ["Checkpoint", "CheckpointManager", "CheckpointMode", "NodeCheckpoint"]
