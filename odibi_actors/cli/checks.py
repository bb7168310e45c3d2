"""What ``odibictl doctor`` looks at. Each check returns findings and raises nothing it could have expected."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from odibi_actors.cli import locks
from odibi_actors.cli.base import App
from odibi_actors.cli.output import size
from odibi_actors.errors import ConfigError, OdibiError
from odibi_actors.units import plural

MIN_PYTHON = (3, 11)
LOW_SPACE = 1_000_000_000
"""Bytes free below which a burst of iterations may fill the disk."""
NO_SPACE = 50_000_000
"""Bytes free below which the log itself is in danger."""
STORE_LOOK = 64_000_000
"""Bytes of a database up to which it is looked into: half a second."""
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs"})
"""Filesystems on which SQLite's locks and shared memory cannot be relied on."""
VOLATILE = frozenset({"tmpfs", "ramfs"})
MIN_WATCHES = 8192
CLOCK_2024 = 1_704_067_200
MAX_SKEW = 5.0
"""Seconds between the clocks of a peer and ours that would make a person doubt what is shown."""
SHOWN = frozenset({"pyzmq", "pyarrow", "pandas", "duckdb"})
"""Packages whose versions a bug report needs first."""


class Finding(NamedTuple):
    """One line: ``fix`` is "" where nothing needs fixing."""

    state: Literal["ok", "warn", "fail"]
    name: str
    found: str
    fix: str = ""


def run(app: App) -> list[Finding]:
    """All findings, in the order of dependence: a failure high up explains those below."""
    checks: tuple[Callable[[App], Iterator[Finding]], ...] = (
        python, packages, config, data_dir, store, stale, procfile, limits, clock, system,
    )  # fmt: skip
    return [finding for check in checks for finding in check(app)]


def python(app: App) -> Iterator[Finding]:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= MIN_PYTHON and sys.platform == "linux"
    fix = "" if good else "use Python 3.11 or newer on Linux"
    yield Finding("ok" if good else "fail", "python", f"{version} on {sys.platform} ({sys.executable})", fix)


def packages(app: App) -> Iterator[Finding]:
    """Our dependencies, against what our own metadata asks for."""
    try:
        required = metadata.requires("odibi-actors") or []
        version = metadata.version("odibi-actors")
    except metadata.PackageNotFoundError:
        yield Finding("fail", "packages", "odibi-actors is not installed here", "run `pip install -e .` in its folder")
        return
    missing, found = [], [f"odibi-actors {version}"]
    for line in required:
        if "extra ==" in line:
            continue
        name = line.split(">")[0].split("=")[0].split("<")[0].split(";")[0].strip()
        least = line.partition(">=")[2].split(",")[0].split(";")[0].strip()
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(f"{name} is missing")
            continue
        if least and _numbers(have) < _numbers(least):
            missing.append(f"{name} {have} is older than {least}")
        if name in SHOWN:
            found.append(f"{name} {have}")
    if missing:
        yield Finding("fail", "packages", "; ".join(missing), "run `pip install --upgrade odibi-actors`")
    else:
        yield Finding("ok", "packages", ", ".join(found))


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def config(app: App) -> Iterator[Finding]:
    """The project file."""
    from odibi_actors.cli.project import load

    try:
        project = load(app)
    except ConfigError as error:
        problems = str(error).splitlines()
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        yield Finding("fail", "config", problems[0] + more, "run `odibictl validate` and fix what it lists")
        return
    nodes = sum(len(pipeline.nodes) for pipeline in project.pipelines)
    yield Finding(
        "ok", "config", f"{project.name}: {plural(len(project.pipelines), 'pipeline')}, {plural(nodes, 'node')}"
    )
    cores = os.cpu_count() or 1
    if project.workers > 2 * cores:
        yield Finding("warn", "workers", f"{project.workers} on {cores} cores", f"set `workers:` to about {cores}")
    if on_spark := [f"{one.name}.{node.name}" for one in project.pipelines for node in one.nodes if node.engine]:
        yield _spark(on_spark)


def _spark(nodes: list[str]) -> Finding:
    """Whether this host can run them; workers on others are not looked at."""
    from odibi_actors.nodes.spark import finding

    what = f"{plural(len(nodes), 'node')} on Spark: {', '.join(nodes[:3])}{', ...' if len(nodes) > 3 else ''}"
    lack = finding.missing()
    return Finding("fail" if lack else "ok", "spark", what, lack)


def _data_dir(app: App) -> Path | None:
    try:
        return app.data_dir
    except OdibiError:
        return None  # said by the check of the config


def data_dir(app: App) -> Iterator[Finding]:
    """Where the state is: permission, space, filesystem."""
    folder = _data_dir(app)
    if folder is None:
        return
    if not folder.exists():
        base = next(parent for parent in folder.parents if parent.exists())
        if not os.access(base, os.W_OK):
            yield Finding(
                "fail",
                "data_dir",
                f"{folder} cannot be made: {base} is not writable",
                f"chmod u+w {shlex.quote(str(base))}",
            )
            return
        yield Finding("ok", "data_dir", f"{folder} (will be made)")
    else:
        base = folder
        state = folder.stat()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield Finding(
                "fail",
                "data_dir",
                f"{folder} is not ours to write (uid {state.st_uid})",
                f"chown -R {os.getuid()} {shlex.quote(str(folder))}",
            )
        elif state.st_mode & 0o077:
            yield Finding(
                "warn",
                "data_dir",
                f"{folder} is open to others (mode {state.st_mode & 0o777:o})",
                f"chmod 700 {shlex.quote(str(folder))}",
            )
        else:
            yield Finding("ok", "data_dir", str(folder))
    free = shutil.disk_usage(base).free
    fix = "free some space, or move data_dir to another disk" if free < LOW_SPACE else ""
    yield Finding(
        "fail" if free < NO_SPACE else "warn" if free < LOW_SPACE else "ok", "disk space", f"{size(free)} free", fix
    )
    kind = filesystem(base)
    if kind in NETWORK:
        yield Finding(
            "fail",
            "filesystem",
            f"{kind} under data_dir",
            "move data_dir to a local disk: a network filesystem loses checkpoints",
        )
    elif kind in VOLATILE:
        yield Finding(
            "warn",
            "filesystem",
            f"{kind} under data_dir",
            "checkpoints are gone after a reboot; move data_dir to a disk",
        )
    else:
        yield Finding("ok", "filesystem", kind or "unknown")


def store(app: App) -> Iterator[Finding]:
    """The checkpoint store at rest: would it start?"""
    from odibi_actors.cli import verify

    folder = _data_dir(app)
    if folder is None or not folder.exists():
        return
    path = folder / verify.DATABASE
    if locks.holder(folder / "run" / "store.lock") is not None:
        yield Finding("ok", "store", "in use; `odibictl checkpoint verify` compares it with its digests")
    elif path.exists() and path.stat().st_size > STORE_LOOK:
        yield Finding("ok", "store", f"{size(path.stat().st_size)}, not looked into; run `odibictl checkpoint verify`")
    elif path.exists() or (folder / verify.SEALS).exists():
        try:
            report = verify.stopped(folder, app.root)
        except (OdibiError, OSError) as error:
            yield Finding("fail", "store", f"{path}: {error}", "see `odibictl logs checkpoint`")
            return
        for problem in report.problems[:5]:
            yield Finding("fail", "store", problem["what"], problem["fix"])
        if not report.problems:
            whole = (plural(report.pages, "page"), plural(report.rows, "row"), plural(report.files, "file"))
            yield Finding("ok", "store", f"whole: {', '.join(whole)}")


def filesystem(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the filesystem that holds ``path``."""
    best, kind = "", ""
    real = str(path.resolve())
    for line in mounts.read_text(errors="replace").splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        point = parts[1].encode().decode("unicode_escape")
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, parts[2]
    return kind


def stale(app: App) -> Iterator[Finding]:
    """Locks, and a connection file without a broker."""
    from odibi_actors.runtime import paths

    folder = _data_dir(app)
    if folder is None:
        return
    places = paths.layout(folder)
    held = locks.holders(places.run)
    yield Finding(
        "ok", "locks", ", ".join(f"{name}: pid {pid}" for name, pid in held.items()) or "none held: nothing runs here"
    )
    if places.connection.exists() and not held:
        yield Finding(
            "ok", "run folder", f"{places.connection.name} is left of the last system; the next one replaces it"
        )
    unreadable = (
        [name for name in sorted(os.listdir(places.run)) if not os.access(places.run / name, os.R_OK)]
        if places.run.is_dir()
        else []
    )
    if unreadable:
        yield Finding(
            "fail",
            "run folder",
            f"{', '.join(unreadable)} are another user's",
            f"chown -R {os.getuid()} {shlex.quote(str(places.run))}",
        )


def procfile(app: App) -> Iterator[Finding]:
    """One line for each actor."""
    from odibi_actors.runtime import procfile as lines

    path = app.root / "Procfile"
    try:
        found, notes = lines.read(path)
    except ConfigError as error:
        yield Finding("fail", "Procfile", str(error), "correct the line, or remove the file: `odibictl up` needs none")
        return
    for note in notes:
        said, _, todo = note.removeprefix(f"{path.name}: ").rpartition("; ")
        yield Finding("warn", "Procfile", said, todo)
    if not notes:
        text = plural(len(found), "line") if path.exists() else "none, and none is needed: every actor"
        yield Finding("ok", "Procfile", text)


def limits(app: App) -> Iterator[Finding]:
    """What the kernel allows: watched folders, open files."""
    import resource

    for name, least in (("max_user_watches", MIN_WATCHES), ("max_user_instances", 16), ("max_queued_events", 1024)):
        try:
            value = int(Path(f"/proc/sys/fs/inotify/{name}").read_text())
        except (OSError, ValueError):
            yield Finding("warn", "inotify", f"no {name}", "files are found by the periodic rescan only")
            return
        if value < least:
            yield Finding(
                "warn",
                "inotify",
                f"{name} is {value}",
                f"sysctl fs.inotify.{name}={least}; until then files are found by the rescan",
            )
            return
    yield Finding("ok", "inotify", "limits suffice")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    fix = "" if files >= 1024 or files < 0 else "ulimit -n 4096"
    yield Finding("warn" if fix else "ok", "open files", str(files), fix)


def clock(app: App) -> Iterator[Finding]:
    """The machine's time."""
    now = time.time()
    good = now > CLOCK_2024
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    yield Finding(
        "ok" if good else "fail",
        "clock",
        stamp,
        "" if good else "set the clock: schedules and settle times depend on it",
    )


def system(app: App) -> Iterator[Finding]:
    """The running system, if one runs: its broker and who has joined."""
    from odibi_actors.cli import versions
    from odibi_actors.errors import UnreachableError
    from odibi_actors.runtime.trouble import ACTORS, unheard

    app.rested = True  # what runs is said below: nobody has to be told before
    try:
        status = app.client().status()
    except UnreachableError as error:
        folder = _data_dir(app)
        running = folder is not None and locks.holders(folder / "run")
        yield Finding(
            "fail" if running else "ok",
            "broker",
            str(error) if running else "not running",
            "see `odibictl logs broker`" if running else "",
        )
        return
    except OdibiError as error:
        yield Finding("fail", "broker", str(error), "see `odibictl logs broker`")
        return
    peers = status.get("peers") or []
    if status.get("at_rest"):
        yield Finding("ok", "broker", "not running")
    else:
        others = [peer for peer in peers if peer["role"] != "broker"]
        yield Finding("ok", "broker", f"epoch {status.get('epoch')}, {plural(len(others), 'peer')}")
        for role, said in unheard(status, app.client().home()):
            problem, see, where = said.partition(": see ")
            yield Finding("fail", role, problem, f"see {where}" if see else "")
        for one in versions.told(status, ACTORS):
            yield Finding("fail" if one.refused else "warn", "version", one.found, one.fix)
        for pool in status.get("pools") or []:
            for problem in pool["problems"]:
                yield Finding("warn", pool["pool"], problem, "see `odibictl logs worker`")
    for row in (status.get("alerts") or {}).get("untold") or []:
        told = f"not told, {row['state']}: {row['error']}"
        yield Finding("warn", f"alert {row['id']}", told, "see `odibictl alert list`")
    for peer in peers:
        skew = float(peer.get("seen") or 0) - time.time()
        if peer.get("host") == socket.gethostname() and skew > MAX_SKEW:
            yield Finding(
                "warn", str(peer.get("name")), f"was seen {skew:.0f} s in the future", "was the clock set back?"
            )
    for row in status.get("pipelines") or []:
        if row.get("state") in ("failed", "blocked"):
            yield Finding(
                "warn", f"pipeline {row['pipeline']}", row["state"], f"see `odibictl pipeline show {row['pipeline']}`"
            )
