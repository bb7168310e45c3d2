"""Why nothing is planned in a pipeline, as its row says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from odibi_actors.model import LIVE
from odibi_actors.units import plural


def interrupted(pipeline: str) -> str:
    """What people are told of a reset that has begun and not ended."""
    return (
        f"a reset of {pipeline} was interrupted, and nothing of {pipeline} runs until it has ended: while nothing runs "
        f"(`odibictl down`), `odibictl reset {pipeline}` ends it"
    )


def held_by(shown: Mapping[str, Any]) -> str:
    """What keeps the live lane from planning, and the remedy, from an answer to ``pipeline.show``; "" when nothing
    does: it is about to be planned."""
    name, state = shown["pipeline"], shown["state"]
    if state == "resetting":
        return interrupted(name)
    if state == "removed":
        return f"{name} is no longer in odibi.yaml"
    if state == "rewinding":
        return f"{name} is being taken back; then `odibictl pipeline resume {name}`"
    if state in ("draining", "drained") or shown.get("paused"):
        word = state if state in ("draining", "drained") else "paused"
        return f"{name} is {word}: `odibictl pipeline resume {name}`"
    if full := _full(shown):
        return full
    if shown.get("trigger", "data") != "data" and not shown.get("run"):
        how = "schedule next" if shown["trigger"] == "schedule" else f"pipeline trigger {name}"
        return f"{name} has trigger: {shown['trigger']}, and takes it in its next run: `odibictl {how}`"
    return next((text for text in shown.get("problems") or () if text.startswith("source ")), "")


def _full(shown: Mapping[str, Any]) -> str:
    """That as many iterations are in flight as may be, and which of them holds the others up."""
    name, limit = shown["pipeline"], shown.get("max_in_flight")
    live = [one for one in shown.get("iterations") or () if one.get("lane", LIVE) == LIVE]
    if not limit or len(live) < limit:
        return ""
    stuck = next((one for one in live if one["state"] in ("failed", "blocked")), None)
    told = f"{plural(len(live), 'iteration')} of {name} {'is' if len(live) == 1 else 'are'} in flight (max_in_flight)"
    if stuck is None:
        return told
    number, state = stuck["iteration"], stuck["state"]
    return f"{told}, held up by {number}, which is {state}: `odibictl iteration show {name} {number}`"
