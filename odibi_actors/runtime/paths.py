"""Where everything of one project lives on disk, and the locks that keep one process per role."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from odibi_actors.config.tree import MAX_FILE
from odibi_actors.errors import ConfigError, ConflictError
from odibi_actors.failpoints import failpoint
from odibi_actors.runtime.room import lacking

SUN_PATH_MAX = 107  # bytes of a unix socket's path, without the closing NUL; a longer one cannot be bound
LONGEST_SOCKET = 24  # bytes kept for "/" and the longest name of a socket below the run folder
LOCK_POLL = 0.02  # seconds between looks at a lock that is held
PREDECESSOR = 10.0  # seconds a starting actor waits for a predecessor that is just dying


class Layout(NamedTuple):
    """The folders of one data_dir. ``sockets`` is ``run`` unless the path is too deep for unix sockets."""

    data_dir: Path
    run: Path
    sockets: Path
    log: Path
    spool: Path
    dead_letters: Path
    database: Path
    connection: Path

    @property
    def endpoint(self) -> str:
        """Where the broker listens on this host."""
        return f"ipc://{self.sockets / 'broker.ipc'}"

    def socket(self, name: str) -> str:
        """The ipc endpoint of that name."""
        return f"ipc://{self.sockets / name}.ipc"


def layout(data_dir: Path) -> Layout:
    """The layout below ``data_dir``; touches nothing. Every process computes the same one, so peers need no file."""
    data_dir = Path(os.path.abspath(data_dir))
    run = data_dir / "run"
    sockets = run
    if not _short(run):
        digest = hashlib.blake2b(os.fsencode(data_dir), digest_size=8).hexdigest()
        sockets = _temporary(f"odibi-{os.getuid()}-{digest}")
    return Layout(
        data_dir,
        run,
        sockets,
        data_dir / "log",
        data_dir / "spool",
        data_dir / "dead_letters",
        data_dir / "checkpoints.db",
        run / "connection.json",
    )


def _short(folder: Path) -> bool:
    """Whether a unix socket in this folder can be bound."""
    return len(os.fsencode(folder)) + LONGEST_SOCKET <= SUN_PATH_MAX


def _temporary(name: str) -> Path:
    """A short path among the temporary files. ``/tmp`` goes before TMPDIR, which differs from shell to shell, and may
    be as deep as what is too deep already."""
    places = [Path("/tmp"), Path(tempfile.gettempdir())]
    found = [place / name for place in places if os.access(place, os.W_OK | os.X_OK) and _short(place / name)]
    return found[0] if found else places[0] / name


def prepare(data_dir: Path, *, sockets: bool = True) -> Layout:
    """Create the folders, private to this user; the one of ``sockets`` only for whoever binds or connects some. Raises
    ConflictError when that is another user's."""
    places = layout(data_dir)
    for folder in (places.data_dir, places.run, places.log, places.spool):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not sockets:
        return places
    with contextlib.suppress(FileExistsError):
        places.sockets.mkdir(mode=0o700)
    found = places.sockets.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConflictError(f"{places.sockets} must be a folder of user {os.getuid()}; remove it and start again")
    if found.st_mode & 0o077:
        places.sockets.chmod(0o700)
    return places


def tidy(places: Layout) -> None:
    """Remove the folder of sockets among the temporary files, if there is one and it is ours: for whoever ends last."""
    if places.sockets == places.run:
        return
    with contextlib.suppress(OSError):
        if places.sockets.lstat().st_uid == os.getuid():
            shutil.rmtree(places.sockets)


def leave(places: Layout) -> None:
    """The same for whoever ends, as long as others may have sockets there: the last one removes it."""
    if places.sockets != places.run:
        with contextlib.suppress(OSError):
            places.sockets.rmdir()


class Basics(NamedTuple):
    """What an actor needs of ``odibi.yaml`` before, or without, its full validation."""

    data_dir: Path
    workers: int | None


def basics(project: Path, env: Mapping[str, str] = os.environ, required: bool = True) -> Basics:
    """data_dir (absolute) and workers of a project, without checking the rest: only the broker does that.

    ``required``: raise ConfigError when there is no ``odibi.yaml`` (a remote pool does without).
    """
    path = project / "odibi.yaml"
    text = _read(path, required)
    top: dict[str, str] = {}
    if re.search(r"^['\"]?(data_dir|workers)\b", text, re.MULTILINE):
        top = _top_level(path, text)
    data_dir = _expand(top.get("data_dir") or ".odibi", env)
    if "\0" in data_dir:
        raise ConfigError(f"{path}: data_dir holds a NUL character")
    workers = _expand(top.get("workers", ""), env)
    given = int(workers) if re.fullmatch("[0-9]{1,9}", workers) else None
    return Basics(Path(os.path.abspath(os.path.realpath(project) / Path(data_dir))), given)


def _read(path: Path, required: bool) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ConfigError(f"{path} is larger than {MAX_FILE} bytes; move SQL to sql/*.sql")
        return data.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(
                f"there is no odibi.yaml in {path.parent}; go to a project or name one: --project DIR"
            ) from None
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


@lru_cache(maxsize=1)
def _top_level(path: Path, text: str) -> dict[str, str]:
    """The texts of the scalars at the top. Read as the whole file is: same limits, and no tag constructs anything.
    Kept, as a command asks for them again and again, and a large file takes tens of milliseconds."""
    from odibi_actors.config.problems import Problems
    from odibi_actors.config.tree import Mapping as Tree
    from odibi_actors.config.tree import Scalar, parse

    problems = Problems(path.name)
    found = parse(text, problems, lambda value: (value, []))
    if found is None:
        problems.raise_if_any()
    items = found.items if isinstance(found, Tree) else {}
    return {name: value.source for name, (_, value) in items.items() if isinstance(value, Scalar)}


def _expand(text: str, env: Mapping[str, str]) -> str:
    """``${VAR}`` and ``${VAR:-default}``, as in the rest of the file; an unset one is the broker's to report."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda match: env.get(match[1]) or match[2] or "", text)


def write_connection(places: Layout, endpoint: str, **fields: object) -> None:
    """Write the connection file whole or not at all: clients read it at any time. It says which folder it is of, and
    where that was."""
    partial = places.connection.with_name(f"connection.json.{os.getpid()}")
    own = {"folder": _folder(places.run), "path": str(places.run)}
    told = {"endpoint": endpoint, "pid": os.getpid(), **own, **fields}
    try:
        with naming(partial):
            partial.write_text(json.dumps(told) + "\n", encoding="utf-8")
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    partial.chmod(0o600)
    failpoint("connection.rename")
    partial.replace(places.connection)
    failpoint("connection.renamed")


def copied(connection: Path, told: Mapping[str, object]) -> bool:
    """Whether the connection file, which says ``told``, came here with a copy of its project: the system it names runs
    on another folder. The same folder by another path (a link, a mount) is the same."""
    own = _folder(connection.parent)
    return told.get("folder", own) != own


def left_behind(connection: Path, told: Mapping[str, object]) -> Path | None:
    """Where the run folder was when the system that the connection file names, which says ``told``, started on it, if
    it was moved away since; None when it was not."""
    path = told.get("path")
    if not isinstance(path, str) or copied(connection, told):
        return None
    run = Path(path)
    try:
        return None if _folder(run) == _folder(connection.parent) else run
    except OSError:
        return run


def _folder(path: Path) -> list[int]:
    """What a folder is known by, whatever its path: a copy is another one."""
    found = path.stat()
    return [found.st_dev, found.st_ino]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError within names ``path``, as those of ``open`` do: a write to a full disk says nothing of the file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


class Lock:
    """A held lock; keep it as long as the role is played. The kernel frees it when the process dies."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def release(self) -> None:
        """Let the next one have it."""
        os.close(self._fd)


def held(run: Path) -> bool:
    """Whether a process holds any of the locks in the ``run`` folder. Those who read a store at rest do not count."""
    for path in sorted([*run.glob("*.lock"), *run.glob("*.pid")]):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


def hold_lock(path: Path, wait: float = PREDECESSOR) -> Lock:
    """Hold the lock file ``path``, waiting up to ``wait`` seconds; raises ConflictError naming the holder's pid.

    The file is never removed: removing a locked file lets two processes hold "the" lock.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < end:
                time.sleep(LOCK_POLL)
                continue
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise ConflictError(
                f"{path.stem} is already running for this project (pid {holder} holds {path}); stop that one first"
            ) from None
    sign(fd, path)
    return Lock(path, fd)


def sign(fd: int, path: Path) -> None:
    """Write into a lock that is held who holds it; a full disk is no reason not to begin, as whoever has the file open
    can be found. Raises OSError."""
    try:
        with naming(path):
            os.ftruncate(fd, os.pwrite(fd, f"{os.getpid()}\n".encode(), 0))
    except OSError as error:
        if not lacking(error):
            raise
