"""What is called like one of our parts, in the project's folder or on the path, never stands in for it: from an
installed wheel, and from a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from odibi_actors.runtime.procfile import FORMER, MODULES
from tests.runtime.processes import WAIT, Family
from tests.system.harness import ROOT, pipeline, published, small

NAMES = ("broker.py", "nodes.py", "checkpoint.py", "click.py", "zmq.py", "msgspec.py", "queue.py", "honcho.py")
PACKAGES = ("workers", "odibi_actors", "streaming", "scheduler", "runtime")
HOSTILE = 'raise SystemExit("other code ran: " + __file__)\n'


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as by anybody, from a copy without what a build leaves behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "tests", "examples", "benchmarks", "__pycache__", "build", "dist")
    shutil.copytree(ROOT, source, ignore=ignored, symlinks=True)
    argv = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(argv, cwd=source, check=True, capture_output=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripts of a fresh virtual environment with that wheel, and our dependencies within reach."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin/python"
    argv = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    (packages,) = place.glob("lib/python*/site-packages")
    # its own .pth files are not read there, so that the checkout is not installed in it
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def test_given_the_wheel_then_its_top_level_holds_nothing_but_odibi_actors(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"odibi_actors"}
    for part in ("broker/coordinator.py", "broker/__main__.py", "workers/pool.py", "workers/template.py"):
        assert f"odibi_actors/{part}" in names


def test_given_the_wheel_then_every_former_module_runs_by_its_new_name(installed: Path, tmp_path: Path) -> None:
    for module in MODULES.values():
        done = subprocess.run(
            [str(installed / "python"), "-m", module, "--help"],
            cwd=tmp_path, env=clean(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "--project" in done.stdout


@pytest.mark.parametrize("module", ["broker", "workers"])
def test_given_a_checkout_then_its_folders_run_by_their_names(module: str) -> None:
    argv = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(argv, cwd=ROOT, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--project" in done.stdout


def clean(**more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ODIBI_") and k != "PYTHONPATH"}
    return {**inherited, **more}


def hostile(folder: Path, *names: str) -> None:
    """Modules and packages that end whoever imports them."""
    for name in names:
        path = folder / name if name.endswith(".py") else folder / name / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HOSTILE)
        if not name.endswith(".py"):
            (path.parent / "__main__.py").write_text(HOSTILE)


@pytest.mark.parametrize(("where", "init"), [("wheel", True), ("checkout", False)], ids=["wheel", "checkout"])
def test_given_a_project_full_of_our_names_when_up_with_the_former_procfile_then_ours_and_its_own_code_run(
    where: str, init: bool, installed: Path, tmp_path: Path
) -> None:
    node = '{name: last, inputs: [rows], transform: {function: "nodes.own:mark"}}'
    code = "import workers\n\n\ndef mark(rows):\n    return rows.assign(value=workers.VALUE)\n"
    project = small(tmp_path / "p", pipeline("plain", node), nodes=code, workers=1)
    hostile(project, *NAMES, *PACKAGES)
    (project / "workers/__init__.py").write_text("VALUE = 42.0\n")  # what the project calls so is the project's
    if init:
        (project / "nodes/__init__.py").write_text("")
    (project / "Procfile").write_text("".join(f"{name}: {words}\n" for name, words in FORMER.items()))
    other = tmp_path / "other"
    hostile(other, "nodes")
    path = [other, project.parent / "nothing"]
    python = installed / "python" if where == "wheel" else Path(sys.executable)
    if where == "checkout":
        path.insert(0, ROOT)
    (project / "data/landing/plain/a.csv").write_text("id,value\n1,0.5\n")
    family = Family()
    env = clean(PYTHONPATH=os.pathsep.join(map(str, path)), ODIBI_TEST_MARK=family.mark)
    ctl = [str(installed / "odibictl")] if where == "wheel" else [str(python), "-P", "-m", "odibi_actors.cli"]

    def odibictl(*words: str) -> str:
        done = subprocess.run(
            [*ctl, *words], cwd=project, env=env, capture_output=True, text=True, check=False, timeout=2 * WAIT
        )
        log = project / ".odibi/log/up.log"
        assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
        return done.stdout

    try:
        odibictl("up", "--detach")
        odibictl("iteration", "wait", "plain", "--timeout", "30s")
        odibictl("down")
        assert family.extinct()
    finally:
        family.close()
    log = (project / ".odibi/log/up.log").read_text()
    assert log.count("`python -m broker` is taken for `odibictl actor broker`") == 1
    assert "other code ran" not in log

    class Done:  # what `published` wants to know of a system
        pass

    done = Done()
    done.project = project  # type: ignore[attr-defined]
    assert published(done, "plain") == [1]  # type: ignore[arg-type]
