"""A pipeline of code becomes one of ``odibi.yaml``: of people's own file all stays as it is but for what is new."""

from __future__ import annotations

import os
import re
import tempfile
from codecs import BOM_UTF8
from collections.abc import Mapping as Keys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.config.load import PROJECT_FILE, load_text
from odibi_actors.config.problems import Problems
from odibi_actors.config.tree import Mapping, Sequence, Tree, parse, plain_data
from odibi_actors.errors import ConfigError, ConflictError, UnreachableError
from odibi_actors.local.pipelines.document import INDENT, render
from odibi_actors.nodes.package import PACKAGE

if TYPE_CHECKING:
    from odibi_actors.config.model import ProjectSpec
    from odibi_actors.local.pipelines.pipeline import Pipeline


BY_HAND = "put what `print(pipeline.to_yaml())` shows into it by hand"
_EMPTY = re.compile(r"(pipelines:)[ ]*\[[ ]*\]([ ]+#.*?)?\s*")


class Deployed(msgspec.Struct, frozen=True):
    """``path``: the project file; ``changed``: it was written. ``applied``: what ``apply`` has said of each pipeline
    (see ``Client.apply``); None: no system runs on the project, ``odibictl up`` starts one."""

    path: Path
    changed: bool
    applied: list[dict[str, Any]] | None


def deploy(pipeline: Pipeline, *, replace: bool = False) -> Deployed:
    """See ``Pipeline.deploy``."""
    if pipeline.functions:
        named = ", ".join(pipeline.functions)
        raise ConfigError(
            f"{pipeline.name}: a running system has only functions of the project's {PACKAGE}/, and not {named}; move "
            f"what they need to {PACKAGE}/{pipeline.name}.py and import them from there"
        )
    pipeline.spec()
    path = pipeline.root / PROJECT_FILE
    former = path.read_bytes().decode("utf-8-sig") if path.exists() else None
    text = pipeline.to_yaml() if former is None else _joined(former, pipeline, replace)
    project = load_text(text, pipeline.root, PROJECT_FILE, sql=True)[0]
    _apply(pipeline.root, project, dry_run=True)  # what a system would refuse is not written
    if text != former:
        marked = former is not None and path.read_bytes().startswith(BOM_UTF8)
        _write(path, (BOM_UTF8 if marked else b"") + text.encode())
    return Deployed(path, text != former, _apply(pipeline.root, project))


def _apply(root: Path, project: ProjectSpec, *, dry_run: bool = False) -> list[dict[str, Any]] | None:
    """What the system that runs on the project says of it; None when there is none."""
    from odibi_actors.client import Client

    try:
        with Client(project=root) as client:
            items: list[dict[str, Any]] = client.apply(project, dry_run=dry_run)["items"]
            return items
    except UnreachableError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; with the rights that it had. Raises ConflictError: it has another name, which would keep the
    former text."""
    was = path.stat() if path.exists() else None
    if was is not None and was.st_nlink > 1:
        raise ConflictError(f"{path} is one file under several names (hard links): {BY_HAND}")
    mode = was.st_mode & 0o7777 if was is not None else 0o644
    path = Path(os.path.realpath(path))
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# --- the text ---------------------------------------------------------------------------------------------------------


def _joined(text: str, pipeline: Pipeline, replace: bool) -> str:
    """The text with the pipeline and its connections. Raises ConflictError."""
    before = _plain(text)
    after = _wanted(before, pipeline, replace)
    if after == before:
        return text
    for name, section in pipeline.connections.items():
        if name not in (before.get("connections") or {}):
            text = _with_connection(text, name, section)
    text = _with_pipeline(text, pipeline.section())
    if _plain(text) != after:
        raise ConflictError(
            f"{PROJECT_FILE} is written in a way that cannot be added to safely, and was left as it is: {BY_HAND}"
        )
    return text


def _wanted(before: dict[str, Any], pipeline: Pipeline, replace: bool) -> dict[str, Any]:
    """What the file is to say."""
    known = before.get("connections") or {}
    for name, section in pipeline.connections.items():
        if known.get(name, section) != section:
            raise ConflictError(f"{PROJECT_FILE} has another connection {name}; use it, or give this one another name")
    pipelines = [*(before.get("pipelines") or [])]
    names = [one.get("pipeline") for one in pipelines]
    if pipeline.name not in names:
        pipelines.append(pipeline.section())
    elif pipelines[names.index(pipeline.name)] != pipeline.section():
        if not replace:
            raise ConflictError(
                f"{PROJECT_FILE} has another pipeline {pipeline.name}; deploy(replace=True) replaces it, comments "
                "within it included"
            )
        pipelines[names.index(pipeline.name)] = pipeline.section()
    return {**before, "connections": {**known, **pipeline.connections}, "pipelines": pipelines}


def _with_connection(text: str, name: str, section: Keys[str, Any]) -> str:
    top = _tree(text)
    found = top.items.get("connections")
    lines = _lines(text)
    if found is None:
        place = _first_line(top, "pipelines", lines)
        return _spliced(lines, place, place, render({"connections": {name: dict(section)}}))
    inner = found[1]
    if not isinstance(inner, Mapping) or not inner.items or inner.line == found[0].line:
        return text  # in braces, or an alias: what comes of it is not what is wanted
    indent = min(key.column for key, _ in inner.items.values()) - 1
    end = _end(top, "connections", lines)
    return _spliced(lines, end, end, render({name: dict(section)}, indent))


def _with_pipeline(text: str, section: Keys[str, Any]) -> str:
    top = _tree(text)
    lines = _lines(text)
    found = top.items.get("pipelines")
    if found is None:
        end = _trimmed(lines, 0, _document_end(lines))
        return _spliced(lines, end, end, render({"pipelines": [dict(section)]}))
    empty = _EMPTY.fullmatch(lines[found[0].line - 1])
    if empty:
        block = render([dict(section)])
        return _spliced(lines, found[0].line - 1, found[0].line, f"{empty[1]}{empty[2] or ''}\n{block}")
    if not isinstance(found[1], Sequence) or not found[1].items:
        return text
    starts = [one.line - 1 for one in found[1].items]
    dashes = [re.match(r"( *)- +", lines[start]) for start in starts]
    if not all(dashes):
        return text
    indent = len(dashes[0][1]) if dashes[0] else 0
    block = render([dict(section)], indent)
    block = "".join(line[INDENT:] if line.strip() else line for line in block.splitlines(keepends=True))
    names = [_name(one) for one in found[1].items]
    end = _end(top, "pipelines", lines)
    if section["pipeline"] not in names:
        return _spliced(lines, end, end, block)
    place = names.index(section["pipeline"])
    until = _trimmed(lines, starts[place], starts[place + 1]) if place + 1 < len(starts) else end
    return _spliced(lines, starts[place], until, block)


def _spliced(lines: list[str], start: int, end: int, block: str) -> str:
    """The lines with the block in the place of some, its line ends like theirs."""
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    before = "".join(lines[:start])
    if before and not before.endswith("\n"):
        before += newline
    return before + block.replace("\n", newline) + "".join(lines[end:])


def _lines(text: str) -> list[str]:
    """With their ends, as YAML counts them."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _document_end(lines: list[str]) -> int:
    """The line of ``...``, as an index; else that behind the last one."""
    return next((place for place, line in enumerate(lines) if line.rstrip() == "..."), len(lines))


def _end(top: Mapping, key: str, lines: list[str]) -> int:
    """The line behind the last one of a key's value, as an index."""
    begin = top.items[key][0].line - 1
    later = [other.line - 1 for other, _ in top.items.values() if other.line - 1 > begin]
    return _trimmed(lines, begin, min(later, default=_document_end(lines)))


def _trimmed(lines: list[str], begin: int, end: int) -> int:
    """Without blank lines and comments at the end: they belong to what comes after."""
    while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _first_line(top: Mapping, key: str, lines: list[str]) -> int:
    return top.items[key][0].line - 1 if key in top.items else _document_end(lines)


def _name(tree: Tree) -> Any:
    found = tree.items.get("pipeline") if isinstance(tree, Mapping) else None
    return getattr(found[1], "value", None) if found else None


def _tree(text: str) -> Mapping:
    problems = Problems(PROJECT_FILE)
    tree = parse(text, problems, lambda value: (value, []))
    problems.raise_if_any()
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{PROJECT_FILE} must be a mapping")
    return tree


def _plain(text: str) -> dict[str, Any]:
    found: dict[str, Any] = plain_data(_tree(text), "", Problems(PROJECT_FILE))
    return found
