"""The test of the tests: bugs, each a patch in this folder, that the suite or the simulator must find.

A patch begins with a header, then a blank line and a unified diff against the project's root:

    Rule: which promise the bug breaks, in a sentence
    Found-by: pytest tests/broker/test_flow.py::test_a_fenced_broker_stops
    Found-by: simulate --first 0 --seeds 200
    Found-by: simulate --course 'state switch,state switch' --seeds 50

It is applied by its text, not by line numbers (``patches``), so that it survives changes around it.
The first ``Found-by`` is the cheapest command that finds it; more are run with ``--thorough`` only. A command must pass
in a copy of the tree without the bug, and must then fail because something was found: a test that fails, a violated
invariant. A copy that cannot even be imported is no find, it is a bad patch.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from tests.planted import patches

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent

GRACE = 30.0
"""Seconds that tests have to end what they have started, once they are stopped."""

TIMEOUT = 300.0
"""Seconds a command may take; one that takes longer has found nothing."""

SEEDS_AT_ONCE = 25
"""Lives between two looks at whether the simulator has found something."""

NO_FIND = re.compile(r"\b(ImportError|ModuleNotFoundError|SyntaxError|IndentationError|TabError|NameError)\b")
"""What a patch raises that is not a plausible bug but one that cannot run."""


class BadPatch(Exception):
    """A patch or its command is itself wrong; the text names it."""


class Bug(NamedTuple):
    """A planted bug. ``finders``: commands, the cheapest first."""

    name: str
    rule: str
    finders: list[str]
    path: Path


class Verdict(NamedTuple):
    """What came of one command in one copy. ``how``: the find in a few words, or the end of the output."""

    found: bool
    seconds: float
    how: str


def read(path: Path) -> Bug:
    """The bug of a patch file. Raises BadPatch when its header is incomplete."""
    header = re.split(r"^--- ", path.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)[0]
    joined = re.sub(r"\n[ \t]+", " ", header)
    rules = re.findall(r"^Rule: (.+)$", joined, re.MULTILINE)
    finders = re.findall(r"^Found-by: (.+)$", joined, re.MULTILINE)
    if len(rules) != 1 or not finders:
        raise BadPatch(f"{path.name}: its header needs one `Rule:` and at least one `Found-by:`")
    for finder in finders:
        if finder.split()[0] not in ("pytest", "simulate"):
            raise BadPatch(f"{path.name}: Found-by: {finder}: neither `pytest ...` nor `simulate ...`")
    return Bug(path.stem, rules[0], finders, path)


def bank(folder: Path = FOLDER) -> list[Bug]:
    """All bugs, by name. Raises BadPatch."""
    return [read(path) for path in sorted(folder.glob("*.patch"))]


@contextmanager
def copy(root: Path = ROOT) -> Iterator[Path]:
    """A copy of what git knows, or would add, of the work tree; deleted at the end."""
    listed = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True).stdout.decode().split("\0")
    tree = Path(mkdtemp(prefix="planted-"))
    try:
        for name in names:
            source = root / name
            if name and (source.is_file() or source.is_symlink()):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, tree / name, follow_symlinks=False)
        yield tree
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def apply(bug: Bug, tree: Path, *, check: bool = False) -> None:
    """Plant the bug (``check``: only see whether it can be). Raises BadPatch when it does not fit the code any more."""
    try:
        patches.apply(bug.path.read_text(encoding="utf-8"), tree, check=check)
    except patches.Misfit as error:
        raise BadPatch(f"{bug.name}: the patch does not apply any more, write it again: {error}") from None


def run(finder: str, tree: Path, timeout: float = TIMEOUT) -> Verdict:
    """Run a command in the copy. Raises BadPatch when it fails for another reason than a find."""
    tool, *words = shlex.split(finder)
    began = time.monotonic()
    find = _simulate if tool == "simulate" else _pytest
    try:
        how = find(words, tree, timeout)
    except BadPatch as error:
        raise BadPatch(f"{finder}: {error}") from None
    return Verdict(how is not None, time.monotonic() - began, how or "")


def _python(words: list[str], tree: Path, timeout: float) -> tuple[int, str]:
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "300"}
    env.pop("PYTEST_ADDOPTS", None)
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=tree,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # tests end what they have started, in groups of its own too
            try:
                process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise BadPatch(f"not done after {timeout:.0f} s") from None
    return process.returncode, output


def _pytest(words: list[str], tree: Path, timeout: float) -> str | None:
    options = ["-q", "-x", "-rfE", "--tb=line", "-p", "no:cacheprovider"]
    code, output = _python(["-m", "pytest", *options, *words], tree, timeout)
    if code == 0:
        return None
    failed = re.findall(r"^FAILED (.+?)(?: - (.*))?$", output, re.MULTILINE)
    if code != 1 or not failed or any(NO_FIND.match(why) for _, why in failed):
        raise BadPatch(f"broken, not found (exit {code}):\n{_tail(output)}")
    test, why = failed[0]
    return f"{test.rpartition('::')[2].partition('[')[0]}" + (f": {why}" if why else "")


def _simulate(words: list[str], tree: Path, timeout: float) -> str | None:
    """In portions, so that a bug found early costs little."""
    given = dict(zip(words[::2], words[1::2], strict=True))
    if not given.keys() <= {"--first", "--seeds", "--course"}:
        raise BadPatch("simulate takes --first, --seeds and --course only")
    course = [f"--course={given['--course']}"] if "--course" in given else []
    first, left = int(given.get("--first", "0")), int(given["--seeds"])
    end = time.monotonic() + timeout
    while left > 0:
        count = min(left, SEEDS_AT_ONCE)
        arguments = ["-m", "odibi_actors.sim", "--first", str(first), "--seeds", str(count), *course]
        code, output = _python(arguments, tree, max(1.0, end - time.monotonic()))
        if code:
            return _violation(code, output)
        first, left = first + count, left - count
    return None


def _violation(code: int, output: str) -> str:
    found = re.search(r"^seed \d+: .+$", output, re.MULTILINE)
    if found:
        return found[0]
    last = output.strip().splitlines()[-1] if output.strip() else ""
    # An actor that raises is a find too: it would be restarted, and raise again.
    if code == 1 and re.match(r"[A-Za-z_.]*(Error|Exception|Violation)\b", last) and not NO_FIND.match(last):
        return f"the actor raised {last}"
    raise BadPatch(f"broken, not found (exit {code}):\n{_tail(output)}")


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-25:])
