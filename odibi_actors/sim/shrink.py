"""From a life that broke something to the few events that matter, and the story of the one iteration, or schedule,
concerned."""

from __future__ import annotations

import re
from collections.abc import Callable

from odibi_actors.sim.courses import Course
from odibi_actors.sim.scenario import Scenario, run_seed

MAX_LIVES = 150
"""Lives spent on finding which events can be left out."""


def shrink(
    seed: int, told: Callable[[str], None] = lambda _line: None, course: Course | None = None
) -> tuple[frozenset[int], str, list[str]]:
    """Leave out events of a seed's plan as long as some invariant still breaks: first halves, then single ones (delta
    debugging; Zeller and Hildebrandt, 2002). Returns (events left out, violation, story)."""
    total = len(Scenario(seed, course=course).plan)
    without: frozenset[int] = frozenset()
    size, lives = max(1, total // 2), 0
    while lives < MAX_LIVES:
        shrunk = False
        left = [place for place in range(total) if place not in without]
        for start in range(0, len(left), size):
            trial = without | frozenset(left[start : start + size])
            lives += 1
            if lives > MAX_LIVES:
                break
            if run_seed(seed, without=trial, course=course)[1]:
                without, shrunk = trial, True
                told(f"{total - len(without)} of {total} events left")
        if size == 1 and not shrunk:
            break
        size = max(1, size // 2)
    _, violation, story = run_seed(seed, story=True, without=without, course=course)
    return without, violation, story


def about(violation: str, story: list[str]) -> list[str]:
    """The lines of a story about the iteration, or the schedule, that the violation names, and what went wrong
    meanwhile."""
    scheduled = re.search(r"\b([a-z]\w*)\.([a-z]\w*)(?:@| (?:at|begins)|:)", violation)
    if scheduled is not None:
        name, schedule = re.escape(scheduled[1]), re.escape(scheduled[2])
        return _kept(story, re.compile(rf"\b{name}\b.*(?:schedule|name)={schedule}\b|\b{name}\.{schedule}@"))
    found = re.search(r"\b([a-z][a-z0-9_]*)/(\d+)\b", violation) or re.search(r"'([a-z]\w*)', (\d+)", violation)
    if found is None:
        return story
    name, number = found[1], int(found[2])
    return _kept(story, re.compile(rf"\b{name}/{number}\b|\b(?:VERSION|CANCEL|REWIND|REWOUND|DISCARD) {name}\b"))


def _kept(story: list[str], here: re.Pattern[str]) -> list[str]:
    lines = [place for place, line in enumerate(story) if here.search(line)]
    if not lines:
        return story
    first, last = lines[0], lines[-1]
    kept = []
    for place, line in enumerate(story):
        text = line[12:]
        fault = text.startswith("*") or re.match(r"[\w-]+ (\(\d+\) is|is|starts|stops)|a second|faults", text)
        if here.search(line) or (fault and first <= place <= last + 20):
            kept.append(line)
    return kept
