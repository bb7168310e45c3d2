"""Many lives of a shop on real processes, real files and real targets, with a book-keeper who knows what must be there.

Run by ``scripts/shop``. Lives that are recorded in the file of ``--record`` are not lived again: a soak can be taken up
where it was left. A life that ends in a difference leaves its folder and tells its story.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from odibi_actors.errors import OdibiError
from tests.shop.life import Life


def live(seed: int) -> dict[str, Any]:
    """One life: {"life", "seconds", "counts", "difference": "" or what differs}."""
    folder = Path(tempfile.mkdtemp(prefix=f"odibi-shop-{seed}-"))
    life, began, difference = Life(folder / "project", seed), time.monotonic(), ""
    try:
        life.live()
    except (AssertionError, OdibiError) as error:
        difference = str(error) or traceback.format_exc(limit=-3)
        story = "\n".join([*life.story, difference, "", life.state(), life.system.tail(30)])
        (folder / "story.txt").write_text(story)
    finally:
        life.client.close()
        life.system.close()
    if not difference:
        shutil.rmtree(folder)
    return {
        "life": seed,
        "seconds": round(time.monotonic() - began, 1),
        "counts": dict(life.counts),
        "difference": difference,
        "folder": str(folder) if difference else "",
    }


def main() -> int:
    """The command line; 0 when every life ended as it must."""
    parser = argparse.ArgumentParser(prog="scripts/shop", description=__doc__)
    parser.add_argument("--lives", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--first", type=int, default=1, help="seed of the first (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="lives at a time (default 2)")
    parser.add_argument(
        "--record", type=Path, help="a file of JSON lines: what was lived is added, and not lived again"
    )
    chosen = parser.parse_args()
    lived: list[dict[str, Any]] = []
    if chosen.record is not None and chosen.record.exists():
        lived = [json.loads(line) for line in chosen.record.read_text().splitlines()]
    done = {one["life"] for one in lived}
    wanted = [seed for seed in range(chosen.first, chosen.first + chosen.lives) if seed not in done]
    began = time.monotonic()
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for future in as_completed([pool.submit(live, seed) for seed in wanted]):
            one = future.result()
            lived.append(one)
            if chosen.record is not None:
                with chosen.record.open("a") as record:
                    record.write(json.dumps(one) + "\n")
            said = f"DIFFERENCE, see {one['folder']}/story.txt:\n{one['difference']}" if one["difference"] else "right"
            print(f"life {one['life']} ({one['seconds']:.0f} s): {said}", flush=True)
    counts: Counter[str] = Counter()
    for one in lived:
        counts.update(one["counts"])
    broken = [one["life"] for one in lived if one["difference"]]
    print(", ".join(f"{what} {count}" for what, count in sorted(counts.items())))
    print(f"{len(lived)} lives, {len(broken)} with a difference {broken or ''}; {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
