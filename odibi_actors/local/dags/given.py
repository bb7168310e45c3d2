"""What lies in ``data_map`` before an execution: what users have put there, and what the former one has left."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from odibi_actors.core.dag import DAGNode, given_keys
from odibi_actors.local.dags import content

log = logging.getLogger("odibi_actors.core")


class Given:
    """Remembers which values of ``data_map`` came from where, by identity: a batch with equal rows is another batch."""

    def __init__(self, dag: Mapping[str, DAGNode]) -> None:
        self._dag = dag
        self._outputs = {key for node in dag.values() for key in node.step.outputs.values()}
        self._used = {key for node in dag.values() for key in node.step.inputs.values()} | self._outputs
        self._made: dict[str, Any] = {}  # by steps
        self._seen: dict[str, Any] = {}  # given to the last execution that succeeded
        self._files: dict[str, str] = {}  # and what it read

    def put(self, data_map: Mapping[str, Any]) -> dict[str, Any]:
        """What users have put there: all but what steps have made."""
        return {
            key: value
            for key, value in data_map.items()
            if key in self._used and not (key in self._made and self._made[key] is value)
        }

    def made(self, outputs: Mapping[str, Any]) -> None:
        """Steps have made this."""
        self._made.update(outputs)

    def done(self, put: Mapping[str, Any], files: Mapping[str, str]) -> None:
        """An execution has succeeded with this."""
        self._seen, self._files = dict(put), dict(files)

    def news(self, data_map: Mapping[str, Any]) -> bool:
        """Whether there is something that the last execution did not have: data that were put, or what an ingest step
        reads. A DAG that is given nothing and reads nothing always has news."""
        put = {key: value for key, value in self.put(data_map).items() if value is not None}
        if any(key not in self._seen or self._seen[key] is not value for key, value in put.items()):
            return True
        reading = [node.step for node in self._dag.values() if node.step.reads and not _replaced(node, put)]
        if reading:
            files = {step.name: content.of_file(step) for step in reading}
            return any(not digest or digest != self._files.get(name) for name, digest in files.items())
        return not put and not given_keys(dict(self._dag))


class Now(NamedTuple):
    """``steps``: that are to run; ``values``: what they are given, by key."""

    steps: dict[str, DAGNode]
    values: dict[str, Any]


def given_now(dag: Mapping[str, DAGNode], data_map: Mapping[str, Any], put: Mapping[str, Any]) -> Now:
    """What is to run with what, when ``put`` was put there. Raises RuntimeError for a key that a step needs, and nobody
    makes or has put there."""
    missing = {key: steps for key, steps in given_keys(dict(dag)).items() if key not in data_map}
    if missing:
        raise RuntimeError("; ".join(_missing(key, steps, dag) for key, steps in missing.items()))
    steps: dict[str, DAGNode] = {}
    idle: dict[str, None] = {key: None for key, value in put.items() if value is None}
    for name, node in dag.items():
        if _replaced(node, put):
            log.info("%s does not run: what it makes lies in data_map", name)
        elif any(key in idle for key in node.step.inputs.values()):
            log.info("%s does not run: there is no data for it", name)
            idle.update(dict.fromkeys(node.step.outputs.values()))
        else:
            steps[name] = node
    wanted = {key for node in steps.values() for key in node.step.inputs.values()}
    made = {key for node in steps.values() for key in node.step.outputs.values()}
    return Now(steps, {key: data_map[key] for key in sorted(wanted - made)})


def _replaced(node: DAGNode, put: Mapping[str, Any]) -> bool:
    """Whether somebody has put there all that the step makes."""
    keys = list(node.step.outputs.values())
    return bool(keys) and all(key in put for key in keys)


def _missing(key: str, steps: list[str], dag: Mapping[str, DAGNode]) -> str:
    known = [one for node in dag.values() for one in node.step.outputs.values()]
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; put it into data_map"
    return f"{', '.join(steps)}: nothing makes {key!r}{hint}"
