"""``scripts/fuzz``: see its help. Each target runs in a process of its own.

Mutations are our own, which know msgpack and the texts of each format; ``--guided`` runs them and libFuzzer's under
Atheris, by what of our code an input reaches: ten times slower, and it finds what chance does not.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

MEMORY_MB, HANG_SECONDS = 1024, 1
MOST_FOUND = 10
"""Findings at different places after which a target is given up."""


def main() -> int:
    """Run targets one after the other, or ``--jobs`` at once; 1 when one of them found something."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz every decoder of bytes from outside.")
    parser.add_argument("target", nargs="*", help="all of them, if none is named")
    parser.add_argument("--runs", type=int, default=100_000, help="executions per target")
    parser.add_argument("--guided", action="store_true", help="by coverage, under Atheris")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for corpora and findings (default: a new one)")
    parser.add_argument("--hang", type=int, default=HANG_SECONDS, help="seconds of CPU an execution may take")
    parser.add_argument("--one", type=Path, help="run one input, as saved by a finding")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        os.environ["ODIBI_LOG"] = "error"
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return _guided(options) if options.guided else _fuzz(options)
    from tests.fuzz.targets import TARGETS

    if options.one:
        TARGETS[options.target[0]]().run(options.one.read_bytes())
        print("nothing happens")
        return 0
    out = options.out or Path(tempfile.mkdtemp(prefix="odibi-fuzz-"))
    names = options.target or list(TARGETS)
    print(f"findings: {out}\n{'target':10} {'runs':>9} {'per s':>7} {'peak MB':>8}  result", flush=True)
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
    argv += ["--seed", str(options.seed), "--hang", str(options.hang), *(["--guided"] if options.guided else [])]
    with (folder / "log").open("wb") as log:
        return name, subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT), time.monotonic()


def _report(name: str, code: int, out: Path, seconds: float) -> bool:
    text = (out / name / "log").read_text(errors="replace")
    runs = int(([*re.findall(r"number_of_executed_units:\s+(\d+)", text), "0"])[0])
    peak = ([*re.findall(r"peak_rss_mb:\s+(\d+)", text), "?"])[0]
    found = [path.name for path in (out / name).iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
    result = "ok" if code == 0 and not found else f"FOUND {found}, see {out / name / 'log'}"
    print(f"{name:10} {runs:9,} {runs / seconds:7,.0f} {peak:>8}  {result}", flush=True)
    return result != "ok"


class Hang(BaseException):
    """An execution took too long; not an Exception, so that nothing on the way takes it for its own."""


def _fuzz(options: argparse.Namespace) -> int:
    from tests.fuzz.mutate import Mutator
    from tests.fuzz.targets import TARGETS, rng_of

    target = TARGETS[options.target[0]]()
    rng = rng_of(target.name, options.seed)
    mutator = Mutator(rng, target.seeds, target.words, target.head)
    found: set[str] = set()

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, late)
    runs = 0
    while runs < options.runs and len(found) < MOST_FOUND:
        runs += 1
        data = mutator.mutate(rng.choice(target.seeds), target.longest)
        signal.setitimer(signal.ITIMER_PROF, options.hang)
        try:
            target.run(data)
        except (Exception, Hang) as error:  # noqa: BLE001 - whatever it is, it is a finding
            signal.setitimer(signal.ITIMER_PROF, 0)
            place = repr(traceback.extract_tb(error.__traceback__)[-1])
            if place not in found:
                found.add(place)
                kind = "timeout" if isinstance(error, Hang) else "crash"
                (options.out / f"{kind}-{len(found)}").write_bytes(data)
                traceback.print_exc()
    signal.setitimer(signal.ITIMER_PROF, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if peak > MEMORY_MB:
        (options.out / "oom-peak").write_text(f"{peak} MB")
    print(f"number_of_executed_units: {runs}\npeak_rss_mb: {peak}")
    return 1 if found else 0


def _guided(options: argparse.Namespace) -> int:
    try:
        import atheris
    except ImportError:
        print("--guided needs atheris: pip install 'odibi-actors[fuzz]'", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["odibi_actors"]):
        from tests.fuzz.targets import TARGETS, rng_of

        target = TARGETS[options.target[0]]()
    from tests.fuzz.mutate import Mutator

    rng = rng_of(target.name, options.seed)
    mutator = Mutator(rng, target.seeds, target.words, target.head)
    corpus = options.out / "corpus"
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        rng.seed(seed)
        mutated: Any = atheris.Mutate(data, longest) if seed % 3 == 0 else mutator.mutate(data, longest)
        return bytes(mutated)

    flags = [f"-runs={options.runs}", f"-max_len={min(target.longest, 2048)}", f"-seed={options.seed}"]
    flags += [f"-timeout={options.hang * 5}", f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1", "-len_control=0"]
    flags.append(f"-artifact_prefix={options.out}/")
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target.run, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
