"""``odibictl init``: a small project that works."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from odibi_actors.config.keys import write_schema
from odibi_actors.config.load import PROJECT_FILE
from odibi_actors.errors import ConflictError

_PRIVATE = ".env"


def init_project(directory: Path) -> list[Path]:
    """Writes the template's files into ``directory`` (made if missing) and returns the paths written.

    A file that is there already stays as it is. Raises ConflictError when the directory holds a project or is a file,
    OSError when it cannot be written.
    """
    if (directory / PROJECT_FILE).exists():
        raise ConflictError(f"{directory / PROJECT_FILE} exists already; name another directory")
    if directory.exists() and not directory.is_dir():
        raise ConflictError(f"{directory} is a file; name a directory")
    written = []
    for name, source in sorted(_template(files("odibi_actors.config") / "template", "")):
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as file:
                if name == _PRIVATE:
                    target.chmod(0o600)
                file.write(source.read_bytes())
        except FileExistsError:
            continue
        written.append(target)
    return [*written, write_schema(directory / ".odibi")]


def _template(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    """(name in the project, source). ``dot_env`` stands for ``.env``: no tool shall take the template's dot-files for
    this repository's. ``.tmpl`` keeps linters and import scans away from its Python."""
    for entry in folder.iterdir():
        name = prefix + entry.name.replace("dot_", ".", 1).removesuffix(".tmpl")
        if entry.is_dir():
            yield from _template(entry, f"{name}/")
        else:
            yield name, entry
