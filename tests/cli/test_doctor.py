"""``doctor``: finds what is wrong, says what fixes it, needs nothing to run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from odibi_actors import __version__
from odibi_actors.cli import checks
from odibi_actors.messages import ONE_VERSION
from odibi_actors.runtime.procfile import PROCFILE
from tests.cli.fake import FakeBroker

Invoke = Callable[..., Result]


@pytest.fixture
def sound(project: Path) -> Path:
    """A project in which there is nothing to find."""
    (project / "Procfile").write_text(PROCFILE)
    return project


def found(invoke: Invoke, project: Path, *args: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code, and findings by check."""
    result = invoke("doctor", "--project", project, "-o", "json", *args)
    return result.exit_code, {row["check"]: row for row in json.loads(result.stdout)["items"]}


def test_given_a_sound_project_with_nothing_running_then_nothing_fails(invoke: Invoke, sound: Path) -> None:
    code, rows = found(invoke, sound)
    assert code == 0, rows
    assert rows["config"]["found"] == "small: 1 pipeline, 3 nodes"
    assert rows["broker"]["found"] == "not running"


def test_given_every_kind_of_trouble_then_each_is_found_with_its_fix(
    invoke: Invoke, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sound / "odibi.yaml").write_text("project: small\nnonsense: 1\n")
    (sound / "Procfile").write_text("broker: python -m broker\n")
    (sound / ".odibi" / "run").mkdir(parents=True)
    (sound / ".odibi").chmod(0o755)
    monkeypatch.setattr(checks, "LOW_SPACE", 1 << 62)
    monkeypatch.setattr(checks, "filesystem", lambda _: "nfs4")
    code, rows = found(invoke, sound)
    assert code == 1
    states = {name: row["state"] for name, row in rows.items()}
    expected = {"config": "fail", "Procfile": "warn", "data_dir": "warn", "disk space": "warn",
                "filesystem": "fail"}  # fmt: skip
    assert {name: states[name] for name in expected} == expected
    assert all(row["fix"] for row in rows.values() if row["state"] != "ok")


def test_given_nodes_on_spark_then_what_they_lack_is_said(
    invoke: Invoke, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (sound / "odibi.yaml").read_text()
    (sound / "odibi.yaml").write_text(text.replace("transform:", "engine: spark\n        transform:", 1))
    monkeypatch.setattr("odibi_actors.nodes.spark.finding.missing", lambda: "install it")
    code, rows = found(invoke, sound)
    assert (code, rows["spark"]["state"], rows["spark"]["fix"]) == (1, "fail", "install it"), rows
    assert rows["spark"]["found"].startswith("1 node on Spark: ")


def test_given_a_system_without_its_store_then_that_fails(
    invoke: Invoke, sound: Path, broker: Callable[..., FakeBroker]
) -> None:
    peers = [
        {"name": role, "role": role, "host": os.uname().nodename, "seen": 1.0}
        for role in ("source", "scheduler", "pool")
    ]
    fake = broker({"status": {"epoch": 1, "peers": peers, "pipelines": [{"pipeline": "copy", "state": "failed"}]}})
    code, rows = found(invoke, sound, "--endpoint", fake.endpoint)
    assert code == 1
    assert rows["store"]["fix"] == "see `odibictl logs checkpoint`"
    assert rows["pipeline copy"]["state"] == "warn"


def test_given_actors_of_other_versions_or_troubled_pools_then_each_is_told_with_its_fix(
    invoke: Invoke, sound: Path, broker: Callable[..., FakeBroker]
) -> None:
    here = {"host": os.uname().nodename, "seen": 1.0}
    peers = [{"name": role, "role": role, "version": "9.9.9", **here} for role in ("source", "scheduler", "store")]
    refused = [{"name": "pool-0", "role": "pool", "problem": "pool-0 runs version 8", "fix": ONE_VERSION}]
    pools = [{"pool": "pool-1", "host": "h", "wanted": 1, "problems": ["workers cannot start: x"]}]
    answer = {"epoch": 1, "version": __version__, "peers": peers, "refused": refused, "pools": pools, "pipelines": []}
    fake = broker({"status": answer})
    result = invoke("--project", str(sound), "--endpoint", fake.endpoint, "doctor", "-o", "json")
    rows = [(row["state"], row["found"], row["fix"]) for row in json.loads(result.stdout)["items"]]
    assert ("fail", "pool-0 runs version 8", ONE_VERSION) in rows
    others = f"source, scheduler, checkpoint run version 9.9.9, the broker {__version__}"
    assert ("warn", others, ONE_VERSION) in rows
    assert ("warn", "workers cannot start: x", "see `odibictl logs worker`") in rows
    assert not [row for row in rows if row[1] == "not connected"]
    shown = " ".join(invoke("--project", str(sound), "--endpoint", fake.endpoint, "status").stdout.split())
    assert f"! pool-0 runs version 8: {ONE_VERSION}" in shown
    assert f"! {others}: {ONE_VERSION}" in shown
    assert "is not connected" not in shown
    fake = broker({"status": {**answer, "version": "9.9.9"}})
    shown = " ".join(invoke("--project", str(sound), "--endpoint", fake.endpoint, "status").stdout.split())
    assert f"! this odibictl is version {__version__}, the broker 9.9.9: {ONE_VERSION}" in shown


def test_given_no_project_at_all_then_doctor_still_answers(invoke: Invoke, tmp_path: Path) -> None:
    code, rows = found(invoke, tmp_path)
    assert code == 1
    assert rows["config"]["state"] == "fail"
    assert rows["python"]["state"] == "ok"


def test_given_nested_mounts_then_the_nearest_one_counts(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw\nb {tmp_path} nfs rw\nc {tmp_path}x tmpfs rw\n")
    assert checks.filesystem(tmp_path / "x", mounts) == "nfs"
    assert checks.filesystem(Path("/etc"), mounts) == "ext4"
