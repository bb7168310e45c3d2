"""``scripts/simulate --pairs`` and ``--triples``: lives drawn by what was not lived often enough yet, and the table of
what was.

Courses that were answered too seldom come first. What was lived can be kept in a file, and gone on with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from odibi_actors.sim.courses import PAIRS, STATES, TRIPLES, Course
from odibi_actors.sim.scenario import run_seed
from odibi_actors.sim.tally import Counts, add, commit, told
from odibi_actors.sim.verbs import ANSWERS, VERBS


class Lived(NamedTuple):
    """Some lives of a course: how it was answered, how each verb of them, (seed, violation) of those that broke, and of
    which commit they are."""

    course: Course
    lives: int
    counts: Counts
    verbs: Counts
    broken: list[tuple[int, str]]
    commit: str = ""


class Kind(NamedTuple):
    """``part``: lives of one course that one job lives; ``parts``: jobs spent on a course at most: some states are
    hardly ever reached together."""

    name: str
    courses: Sequence[Course]
    part: int
    parts: int


KINDS = {"pairs": Kind("pairs", PAIRS, 10, 8), "triples": Kind("triples", TRIPLES, 4, 6)}


def _live(course: Course, first: int, lives: int) -> Lived:
    lived = Lived(course, lives, {}, {}, [])
    for seed in range(first, first + lives):
        outcome, violation, _ = run_seed(seed, course=course)
        if outcome is None:
            lived.broken.append((seed, violation))
            continue
        add(lived.counts, outcome.lived)
        add(lived.verbs, outcome.verbs)
    return lived


class Coverage:
    """How often each course of a kind was lived, by answer. ``record``: a file of JSON lines, one for each part."""

    def __init__(self, kind: Kind, record: Path | None) -> None:
        self.kind, self.record = kind, record
        self.counts: dict[Course, Counts] = {course: {} for course in kind.courses}
        self.verbs: Counts = {}
        self.commits: Counts = {}  # commit -> lives
        self.lives = 0
        self.broken: list[tuple[Course, int, str]] = []
        self.begun: dict[Course, int] = dict.fromkeys(kind.courses, 0)  # lives, also those that are being lived
        if record is not None and record.exists():
            for line in record.read_text().splitlines():
                course, *rest = json.loads(line)
                lived = Lived(Course(*course), *rest)
                if lived.course in self.counts:  # of another release there may be others
                    self._add(lived)
                    self.begun[lived.course] += lived.lives

    def add(self, lived: Lived) -> None:
        """One more part."""
        self._add(lived)
        if self.record is not None:
            with self.record.open("a") as file:
                file.write(json.dumps(lived) + "\n")

    def _add(self, lived: Lived) -> None:
        self.lives += lived.lives
        self.broken += [(lived.course, seed, violation) for seed, violation in lived.broken]
        add(self.commits, {lived.commit: lived.lives})
        add(self.counts[lived.course], lived.counts)
        add(self.verbs, lived.verbs)

    def next(self, times: int) -> tuple[Course, int, int] | None:
        """The course that was accepted least of those that were tried least, its next seed, and how many lives; None
        when each was often enough, or tried enough."""
        most = self.kind.part * self.kind.parts
        wanting = [
            course
            for course, begun in self.begun.items()
            if begun < most and (not begun or self.accepted(course) < times)
        ]
        if not wanting:
            return None
        course = min(wanting, key=lambda one: (self.begun[one], self.accepted(one)))
        first = self.begun[course]
        self.begun[course] += self.kind.part
        return course, first, self.kind.part

    def accepted(self, course: Course) -> int:
        """How often both of its verbs were."""
        return self.counts[course].get("accepted", 0)

    def table(self, times: int) -> str:
        """What was lived, and what was not."""
        return _pairs(self, times) if self.kind.name == "pairs" else _triples(self)

    def markdown(self, times: int) -> str:
        """For docs/guarantees.md: how many courses were lived, by commit, and each verb in them."""
        accepted = [self.accepted(course) for course in self.kind.courses]
        refused = [course for course in self.kind.courses if self.counts[course] and not self.accepted(course)]
        enough, some = sum(n >= times for n in accepted), sum(0 < n < times for n in accepted)
        untried = sum(not counts for counts in self.counts.values())
        head = (
            f"{self.lives:,} lives (by commit: {told(self.commits)}), {len(self.broken)} violations. Of "
            f"{len(accepted):,} {self.kind.name} both verbs were accepted {times} times or more in {enough:,}, less "
            f"often in {some:,}, never in {len(refused):,}; {untried:,} did not come about."
        )
        parts = [head, "", self.by_verb()]
        if self.kind.name == "pairs":
            for title, answer in (("Both accepted", "accepted"), ("One or both refused", "refused")):
                cells = _matrix(VERBS, partial(self._answered, answer))
                parts += [
                    "",
                    f"{title}, first verb by row, the other by column:",
                    "",
                    "```text",
                    *cells,
                    "```",
                ]
            parts += ["", f"Never both accepted: {'; '.join(map(str, refused)) or 'none'}"]
        return "\n".join(parts)

    def _answered(self, answer: str, first: str, then: str) -> int:
        return self.counts[Course(first, "", then)].get(answer, 0)

    def by_verb(self) -> str:
        """A table for docs/guarantees.md: each verb, what there must be for it, and how it was answered."""
        lines = ["| verb | needs | " + " | ".join(ANSWERS) + " |", "|---|---|" + "---|" * len(ANSWERS)]
        for name, verb in VERBS.items():
            counts = [f"{self.verbs.get(f'{name}, {one}', 0):,}" for one in ANSWERS]
            lines.append(f"| {name} | {verb.needs or '-'} | " + " | ".join(counts) + " |")
        return "\n".join(lines)


def _short(name: str) -> str:
    return "".join(part[0] for part in name.split()) + name.rsplit(maxsplit=1)[-1][1:3]


def _matrix(rows: Iterable[str], cell: Callable[[str, str], int]) -> list[str]:
    """Of rows by verbs."""
    rows = [*rows]
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"{_short(name):>6}" for name in VERBS)]
    return lines + [f"{row:{width}}" + "".join(f"{cell(row, name):6}" for name in VERBS) for row in rows]


def _pairs(coverage: Coverage, times: int) -> str:
    """Rows: the first verb; columns: the other; how often both were accepted. And the pairs that were not."""
    lines = _matrix(VERBS, lambda first, then: coverage.accepted(Course(first, "", then)))
    lines.append(f"both accepted less than {times} times ({', '.join(ANSWERS)}):")
    for course in PAIRS:
        counts = [coverage.counts[course].get(answer, 0) for answer in ANSWERS]
        if counts[0] < times:
            lines.append(f"  {course}: {', '.join(map(str, counts))}")
    return "\n".join(lines)


def _triples(coverage: Coverage) -> str:
    """Rows: the state; columns: the verb that came in it; after how many of the verbs both were accepted, ever. And
    after which not."""
    lines = [f"after how many of {len(VERBS)} verbs, in this state, this verb: both accepted"]
    lines += _matrix(STATES, lambda state, then: sum(coverage.accepted(Course(v, state, then)) > 0 for v in VERBS))
    lines.append("never accepted:")
    for state in STATES:
        for then in VERBS:
            missing = [first for first in VERBS if not coverage.accepted(Course(first, state, then))]
            if missing:
                after = "any" if len(missing) == len(VERBS) else ", ".join(missing)
                lines.append(f"  {state}, {then}: after {after}")
    return "\n".join(lines)


def search(
    kind: Kind,
    times: int,
    jobs: int,
    record: Path | None,
    seconds: float,
    say: Callable[[str], None],
    progress: Callable[[str], None],
) -> int:
    """Live until every course was accepted ``times`` times, or tried enough, or ``seconds`` are over (one is lived in
    any case); 1 when an invariant broke."""
    coverage, began, tree = Coverage(kind, record), time.monotonic(), commit()
    former = coverage.lives
    with ProcessPoolExecutor(jobs) as pool:
        waiting: list[Future[Lived]] = []
        while True:
            while len(waiting) < 2 * jobs and (coverage.lives == former or time.monotonic() < began + seconds):
                following = coverage.next(times)
                if following is None:
                    break
                waiting.append(pool.submit(_live, *following))
            if not waiting:
                break
            lived = waiting.pop(0).result()
            coverage.add(lived._replace(commit=tree))
            for seed, violation in lived.broken:
                say(f"course {lived.course} seed {seed}: {violation}")
            progress(f"{coverage.lives} lives, {len(coverage.broken)} broken")
    say(coverage.table(times))
    say(coverage.by_verb())
    say(f"{coverage.lives} lives of {len(kind.courses)} {kind.name}: {len(coverage.broken)} violations")
    if coverage.broken:
        course, seed, _ = coverage.broken[0]
        say(f"`scripts/simulate --course '{course}' --seed {seed}` tells what matters of the first")
    return 1 if coverage.broken else 0
