"""``scripts/fuzz``: see its help. Each target runs in a process of its own under libFuzzer, guided by what of our code
an input reaches; half of the mutations are our own, which know msgpack and the texts of each format."""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEMORY_MB, HANG_SECONDS = 1024, 1


def main() -> int:
    """Run targets one after the other, or ``--jobs`` at once; 1 when one of them found something."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz every decoder of bytes from outside.")
    parser.add_argument("target", nargs="*", help="all of them, if none is named")
    parser.add_argument("--runs", type=int, default=100_000, help="executions per target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for corpora and findings (default: a new one)")
    parser.add_argument("--hang", type=int, default=HANG_SECONDS, help="seconds an execution may take")
    parser.add_argument("--one", type=Path, help="run one input, as saved by a finding")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return _fuzz(options)
    from tests.fuzz.targets import TARGETS

    if options.one:
        TARGETS[options.target[0]]().run(options.one.read_bytes())
        print("nothing happens")
        return 0
    out = options.out or Path(tempfile.mkdtemp(prefix="odibi-fuzz-"))
    names = options.target or list(TARGETS)
    print(f"findings and corpora: {out}\n{'target':10} {'runs':>9} {'per s':>7} {'peak MB':>8} {'corpus':>7}  result")
    running: list[tuple[str, subprocess.Popen[bytes], float]] = []
    failed = False
    while names or running:
        while names and len(running) < options.jobs:
            running.append(_start(names.pop(0), options, out))
        name, process, began = running.pop(0)
        process.wait()
        failed |= _report(name, process.returncode, out, time.monotonic() - began)
    return 1 if failed else 0


def _start(name: str, options: argparse.Namespace, out: Path) -> tuple[str, subprocess.Popen[bytes], float]:
    folder = out / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "tests.fuzz", name, "--child", "--out", str(folder), "--runs", str(options.runs)]
    argv += ["--seed", str(options.seed), "--hang", str(options.hang)]
    with (folder / "log").open("wb") as log:
        return name, subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT), time.monotonic()


def _report(name: str, code: int, out: Path, seconds: float) -> bool:
    text = (out / name / "log").read_text(errors="replace")
    runs = int(([*re.findall(r"number_of_executed_units:\s+(\d+)", text), "0"])[0])
    peak = ([*re.findall(r"peak_rss_mb:\s+(\d+)", text), "?"])[0]
    corpus = len(list((out / name / "corpus").iterdir()))
    found = [path.name for path in (out / name).iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
    result = "ok" if code == 0 and not found else f"FOUND {found}, see {out / name / 'log'}"
    print(f"{name:10} {runs:9,} {runs / seconds:7,.0f} {peak:>8} {corpus:7,}  {result}", flush=True)
    return result != "ok"


def _fuzz(options: argparse.Namespace) -> int:
    try:
        import atheris
    except ImportError:
        print("the fuzzer needs atheris: pip install 'odibi-actors[fuzz]'", file=sys.stderr)
        return 2
    os.environ["ODIBI_LOG"] = "none"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with atheris.instrument_imports(include=["odibi_actors", "broker", "workers"]):
        from tests.fuzz.targets import TARGETS

        target = TARGETS[options.target[0]]()
    from tests.fuzz.mutate import Mutator

    rng = random.Random(options.seed)
    mutator = Mutator(rng, target.seeds, target.words, target.head)
    corpus = options.out / "corpus"
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        if seed % 2:
            return bytes(atheris.Mutate(data, longest))
        rng.seed(seed)
        return mutator.mutate(data, longest)

    flags = [f"-runs={options.runs}", f"-max_len={target.longest}", f"-timeout={options.hang}", f"-seed={options.seed}"]
    flags += [
        f"-rss_limit_mb={MEMORY_MB}",
        "-print_final_stats=1",
        f"-artifact_prefix={options.out}/",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.run, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
