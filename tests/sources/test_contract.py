"""Every source that is read in order, through every fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from odibi_actors.kinds.registry import source_of, sources
from tests.sources.contract import FAULTS, KINDS, Bench


def test_given_the_registry_then_no_source_that_is_read_in_order_is_left_out() -> None:
    ordered = {name for name in sources() if source_of(name).consumption == "cursor"}
    assert {kind.mode for kind in KINDS.values()} == ordered


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_given_a_source_when_a_fault_strikes_then_what_is_promised_holds(kind: str, fault: str, tmp_path: Path) -> None:
    FAULTS[fault][1](Bench(KINDS[kind], tmp_path))
