"""``scripts/planted-bugs``: plant each bug of the bank in a copy of the tree, and see that it is found.

scripts/planted-bugs                         all of them, with the cheapest command that finds each
scripts/planted-bugs --only 'store-*'        those of that name
scripts/planted-bugs --thorough              with every command its patch names
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from tests.planted.bank import FOLDER, ROOT, TIMEOUT, BadPatch, Bug, Verdict, apply, bank, copy, run

Row = tuple[Bug, str, Verdict | BadPatch]
"""A bug, a command, and what came of it."""


def main(arguments: list[str] | None = None, folder: Path = FOLDER, root: Path = ROOT) -> int:
    """Parse the command line and go. Returns 1 when a bug survives or a patch is bad, 2 when none is meant."""
    parser = argparse.ArgumentParser(prog="scripts/planted-bugs", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="just this one; a pattern; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="bugs at once (default 1)")
    parser.add_argument("--thorough", action="store_true", help="every command of a patch, not only its cheapest")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/guarantees.md")
    options = parser.parse_args(arguments)
    try:
        bugs = [b for b in bank(folder) if not options.only or any(fnmatchcase(b.name, o) for o in options.only)]
        if not bugs:
            print("no bug of that name is in the bank", file=sys.stderr)
            return 2
        broken = _unpatched(bugs, options.thorough, root)
    except BadPatch as error:
        print(error, file=sys.stderr)
        return 1
    rows: list[Row] = []
    if options.markdown:
        print("| bug | rule it breaks | found by | s | simulator, s |\n|---|---|---|---|---|")
    with ThreadPoolExecutor(options.jobs) as pool:
        for some in pool.map(partial(_try, thorough=options.thorough, broken=broken, root=root), bugs):
            rows += some
            print(_markdown(some) if options.markdown else "\n".join(map(_text, some)), flush=True)
    lost = list(
        dict.fromkeys(bug.name for bug, _, verdict in rows if isinstance(verdict, BadPatch) or not verdict.found)
    )
    seconds = sum(verdict.seconds for _, _, verdict in rows if isinstance(verdict, Verdict))
    print(f"\n{len(bugs)} bugs planted, {len(bugs) - len(lost)} found, in {seconds:.0f} s")
    if lost:
        print(f"not found: {', '.join(lost)}")
    return 1 if lost else 0


def _finders(bug: Bug, thorough: bool) -> list[str]:
    return bug.finders if thorough else bug.finders[:1]


def _unpatched(bugs: list[Bug], thorough: bool, root: Path) -> dict[str, str]:
    """Commands that fail without any bug, and why: they prove nothing."""
    broken: dict[str, str] = {}
    finders = list(dict.fromkeys(finder for bug in bugs for finder in _finders(bug, thorough)))
    with copy(root) as tree:
        finders = _without_those_that_pass(finders, tree)
        for finder in finders:
            try:
                verdict = run(finder, tree)
            except BadPatch as error:
                broken[finder] = str(error)
                continue
            if verdict.found:
                broken[finder] = f"it fails without the bug: {verdict.how}"
    return broken


def _without_those_that_pass(finders: list[str], tree: Path) -> list[str]:
    """All tests in one run cost a fraction of a run each, and a longer simulation holds the shorter ones. Only when
    something fails does it matter which."""
    tests = [finder for finder in finders if re.fullmatch(r"pytest tests/\S+", finder)]
    lives = [finder for finder in finders if re.fullmatch(r"simulate --seeds \d+", finder)]
    passed: list[str] = []
    for some, together in (
        (tests, "pytest " + " ".join(finder.split()[1] for finder in tests)),
        (lives, max(lives, key=lambda finder: int(finder.split()[-1]), default="")),
    ):
        try:
            if some and not run(together, tree, 4 * TIMEOUT).found:
                passed += some
        except BadPatch:
            continue
    return [finder for finder in finders if finder not in passed]


def _try(bug: Bug, *, thorough: bool, broken: dict[str, str], root: Path) -> list[Row]:
    return list(_rows(bug, thorough, broken, root))


def _rows(bug: Bug, thorough: bool, broken: dict[str, str], root: Path) -> Iterator[Row]:
    with copy(root) as tree:
        try:
            apply(bug, tree)
        except BadPatch as error:
            yield bug, bug.finders[0], error
            return
        for finder in _finders(bug, thorough):
            if finder in broken:
                yield bug, finder, BadPatch(broken[finder])
                continue
            try:
                yield bug, finder, run(finder, tree)
            except BadPatch as error:
                yield bug, finder, error


def _text(row: Row) -> str:
    bug, finder, verdict = row
    if isinstance(verdict, BadPatch):
        return f"ERROR     {bug.name}: {verdict}"
    word = "found    " if verdict.found else "SURVIVED "
    lines = [f"{word} {verdict.seconds:6.1f} s  {bug.name}", f"breaks: {bug.rule}", finder, verdict.how[:160]]
    return f"\n{'':20}".join(line for line in lines if line)


def _markdown(rows: list[Row]) -> str:
    """One line for all commands of a bug: the cheapest, and how long the simulator takes if it finds it."""
    bug, finder, _ = rows[0]
    seconds = {
        one: "error" if isinstance(verdict, BadPatch) else f"{verdict.seconds:.1f}" if verdict.found else "SURVIVED"
        for _, one, verdict in rows
    }
    tool, _, words = finder.partition(" ")
    place = words.partition("::")[0] if tool == "pytest" else "scripts/simulate"
    simulator = next((took for one, took in seconds.items() if one.startswith("simulate")), "")
    return f"| {bug.name} | {bug.rule} | `{place}` | {seconds[finder]} | {simulator} |"


if __name__ == "__main__":
    sys.exit(main())
