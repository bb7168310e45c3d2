"""Every sink that is registered, through every fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odibi_actors.kinds.registry import formats, sinks, writing
from tests.postgres import GROUP
from tests.sinks.contract import FAULTS, KINDS, Bench

LONG = ("killed while staging", "killed while publishing", "full while publishing")


def test_given_the_registry_then_no_sink_and_no_format_that_is_written_is_left_out(tmp_path: Path) -> None:
    assert {kind.sink for kind in KINDS.values()} == set(sinks())
    written = {name for name in formats() if writing(name) is not None}
    folders = [kind for kind in KINDS.values() if kind.sink == "local"]
    assert {kind.write(tmp_path).format for kind in folders} == written


def cells() -> Iterator[Any]:
    """All of them. DuckDB takes a second to be killed at every step: where its modes share the code, that is a soak."""
    for kind in KINDS:
        for fault in FAULTS:
            long = kind in ("DuckDB, delete", "DuckDB, overwrite") and fault in LONG
            marks = [GROUP] if "Postgre" in kind else [pytest.mark.soak] if long else []
            yield pytest.param(kind, fault, marks=marks, id=f"{kind}-{fault}")


@pytest.mark.process
@pytest.mark.parametrize(("kind", "fault"), list(cells()))
def test_given_a_sink_when_a_fault_strikes_then_what_is_promised_holds(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAULTS[fault][1](Bench(KINDS[kind], tmp_path, monkeypatch))
