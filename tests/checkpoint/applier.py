"""A store that applies the numbered log for ever and says what is durable, to be killed: ``applier PATH SEED``."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from odibi_actors.checkpoint.engine import Engine
from tests.checkpoint.make import numbered


def main(path: Path, seed: int) -> None:
    choice = random.Random(seed)
    engine = Engine(path)
    engine.claim(engine.epoch, f"broker-{os.getpid()}")
    while True:
        first = engine.last_seq + 1
        count = choice.choice([1, 1, 1, 3, 20])
        through = engine.apply(engine.epoch, first, [numbered(seq) for seq in range(first, first + count)])
        os.write(1, f"{engine.epoch} {through}\n".encode())
        if choice.random() < 0.05:
            engine.checkpoint()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
