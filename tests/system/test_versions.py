"""Real processes of another version of the package beside those of this one."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from odibi_actors import __version__
from odibi_actors.messages import PROTOCOL
from tests.system.harness import LINES, PLAIN, ROOT, System, pipeline, published, put, small, until

Make = Callable[[Path], System]

HONCHO = (sys.executable, "-m", "honcho", "start")
OTHER = PROTOCOL + 1
THEIRS = f"9.9.9 (protocol {OTHER})"
OURS = f"{__version__} (protocol {PROTOCOL})"
FIX = "`odibictl down`, then `odibictl up`"


def package(folder: Path, protocol: int) -> Path:
    """A copy of the package that is another version."""
    shutil.copytree(ROOT / "odibi_actors", folder / "odibi_actors", ignore=shutil.ignore_patterns("__pycache__"))
    change(folder, "version.py", f'__version__ = "{__version__}"', '__version__ = "9.9.9"')
    change(folder, "messages.py", f"\nPROTOCOL = {PROTOCOL}\n", f"\nPROTOCOL = {protocol}\n")
    return folder


def change(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / "odibi_actors" / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def mixed(make: Make, tmp_path: Path, protocol: int, *lines: str) -> System:
    """A system in which these lines of its Procfile run the other version; it is started, not awaited."""
    other = package(tmp_path / "other", protocol)
    project = small(tmp_path / "p", pipeline("plain", PLAIN))
    (project / "Procfile").write_text(
        "".join(
            f"{line}: {f'PYTHONPATH={other} ' if line in lines else ''}{sys.executable} -P -m {module}\n"
            for line, module in LINES.items()
        )
    )
    return make(project)


def words(text: str) -> str:
    """Without the folds of a terminal."""
    return re.sub(r"\s+", " ", text)


def test_given_actors_of_another_version_that_understand_the_others_then_all_works_and_status_and_doctor_tell(
    make: Make, tmp_path: Path
) -> None:
    system = mixed(make, tmp_path, PROTOCOL, "worker", "source")
    system.start(*HONCHO)
    told = f"source, pool-0 run version 9.9.9, the broker {__version__}"
    assert f"{told}: {FIX}" in words(system.ctl("status").stdout).replace("pool-0, source", "source, pool-0")
    rows = [row for row in system.json("doctor")["items"] if row["check"] == "version"]
    assert [(row["state"], FIX in row["fix"]) for row in rows] == [("warn", True)]
    put(system, "plain", "a", "1,1.5")
    system.wait("plain", 1, "committed")
    assert published(system, "plain") == [1]


def test_given_actors_that_speak_another_protocol_then_both_sides_say_so_once_and_the_others_go_on(
    make: Make, tmp_path: Path
) -> None:
    system = mixed(make, tmp_path, OTHER, "worker", "source")
    system.launch(*HONCHO)
    until("the broker has spoken", (system.project / ".odibi/run/connection.json").exists)

    def refused() -> bool:
        return {row["name"] for row in system.client.status()["refused"]} == {"source", "pool-0"}

    until(f"both are refused\n{system.tail()}", refused)
    shown = words(system.ctl("status").stdout)
    for name in ("source", "pool-0"):
        assert f"! {name} runs version {THEIRS}, the broker {OURS}, and neither understands the other: {FIX}" in shown
    assert "not connected" not in shown
    doctor = system.ctl("doctor", "-o", "json")
    assert doctor.returncode == 1
    assert doctor.stdout.count(THEIRS) == 2
    (store,) = [peer for peer in system.client.status()["peers"] if peer["role"] == "store"]

    def later() -> bool:  # a store says something each second, and so would they
        (now,) = [peer for peer in system.client.status()["peers"] if peer["role"] == "store"]
        return bool(now["seen"] > store["seen"] + 4)

    until("four seconds have gone by", later)
    log = system.project / ".odibi/log"
    assert (log / "broker.log").read_text().count("neither understands the other") == 2
    assert (log / "source.log").read_text().count("the broker refuses this source") == 1
    assert (log / "pool-0.log").read_text().count("the broker refuses this pool") == 1
    assert "starting again" not in (log / "source.log").read_text() + (log / "pool-0.log").read_text()
    system.kill("broker")  # whoever comes next is asked once more
    until("both are refused again", lambda: (log / "source.log").read_text().count("refuses this source") == 2)
    until("and shown", refused)


def test_given_a_store_that_speaks_another_protocol_then_whoever_asks_is_told_and_all_can_be_stopped(
    make: Make, tmp_path: Path
) -> None:
    system = mixed(make, tmp_path, OTHER, "checkpoint")
    system.launch(*HONCHO)
    until("the store is refused", lambda: "refuses this store" in system.tail(200))
    asked = system.ctl("status")
    assert asked.returncode == 4
    assert f"store runs version {THEIRS}, the broker {OURS}" in words(asked.stderr)
    assert FIX in words(asked.stderr)
    system.stop()


@pytest.mark.parametrize("protocol", [PROTOCOL, OTHER])
def test_given_an_odibictl_of_another_version_then_it_says_so_and_may_stop_all_but_apply_nothing_it_should_not(
    protocol: int, make: Make, tmp_path: Path
) -> None:
    system = mixed(make, tmp_path, protocol, *LINES)
    system.launch(*HONCHO)
    system.await_up()
    assert f"this odibictl is version {__version__}, the broker 9.9.9: {FIX}" in words(system.ctl("status").stdout)
    applied = system.ctl("apply")
    assert applied.returncode == (0 if protocol == PROTOCOL else 4)
    assert ("which understands no project of ours" in words(applied.stderr)) == (protocol == OTHER)
    system.stop()
