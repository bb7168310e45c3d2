"""What one value alone does not show: references between nodes and connections, paths, targets, the shape of the DAG.

Works on the checked mappings of ``keys.PROJECT``: they hold what was written and is valid by itself, so a missing key
is either a default or a problem already told. Resolves in place what the specs need (order, paths, SQL files).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from odibi_actors.config.arrow_nested import split
from odibi_actors.config.arrow_types import UnknownTypeError, arrow_type
from odibi_actors.config.functions import Modules
from odibi_actors.config.kinds import BAD
from odibi_actors.config.model import ConnectionSpec, RetrySpec
from odibi_actors.config.order import sort_nodes
from odibi_actors.config.patterns import NOT, pattern_leads_out, several
from odibi_actors.config.places import leads_out
from odibi_actors.config.problems import Problems, did_you_mean
from odibi_actors.config.remedies import typed
from odibi_actors.config.schedules import ScheduleChecker
from odibi_actors.config.sql import PlacedNode
from odibi_actors.kinds.connection import name_of
from odibi_actors.kinds.format import check_options, lacks
from odibi_actors.kinds.registry import (
    connection_of,
    dialects,
    format_of,
    formats,
    sink_of,
    sinks,
    source_of,
    sources,
    writing,
)
from odibi_actors.kinds.sink import Sink
from odibi_actors.kinds.source import Polling
from odibi_actors.model import Accesses, Target

MAX_SQL_FILE = 1024 * 1024
Section = dict[str, Any]


class Checker:
    """Checks one project; ``root`` is absolute. ``lent``: see ``Modules``."""

    def __init__(self, root: Path, problems: Problems, lent: Mapping[str, Callable[..., object]] | None = None) -> None:
        self._root = root
        self._problems = problems
        self._modules = Modules(root, lent)
        self._targets: dict[Target, str] = {}
        self.nodes: list[PlacedNode] = []
        """All nodes, those of a pipeline in topological order if it has one."""
        self.sql_files: dict[str, str] = {}
        """Dotted path of a ``transform`` -> the file its SQL came from."""
        self.connections: dict[str, ConnectionSpec] = {}
        self.accesses: Accesses = {}

    def project(self, data: Section) -> None:
        """All checks; afterwards ``connections`` has the resolved ones and nodes are in topological order."""
        self.data_dir = data["data_dir"] = self._absolute("data_dir", data.get("data_dir", ".odibi"))
        connections = data.get("connections", {})
        for name, section in connections.items():
            if section is not BAD:
                self._connection(name, section, data["data_dir"])
        self._unique([(at, item.get("pipeline")) for at, item in _items(data, "pipelines")], "pipeline", "pipeline")
        for path, pipeline in _items(data, "pipelines"):
            self._retry(f"{path}.retry", {}, pipeline)
            nodes = list(_items(pipeline, "nodes", path))
            self._unique([(at, node.get("name")) for at, node in nodes], "name", "node")
            for at, node in nodes:
                self._node(at, node, connections, pipeline)
            self._graph(path, pipeline, nodes)
            places = {id(node): at for at, node in nodes}
            self.nodes += [
                PlacedNode(path, places[id(node)], node) for node in pipeline.get("nodes", []) if node is not BAD
            ]
            self._sources(path, pipeline, [node for _, node in nodes])
        names = [item["pipeline"] for _, item in _items(data, "pipelines") if "pipeline" in item]
        schedules = ScheduleChecker(self._root, data["data_dir"], self.connections, names, self._problems)
        self._schedules(schedules, list(_items(data, "pipelines")))
        for path, section in [("", data), *_items(data, "pipelines")]:
            for at, alert in _items(section, "alerts", path):
                schedules.alert(at, alert)

    # --- connections and paths ------------------------------------------------------------------------------------

    def _connection(self, name: str, section: Section, data_dir: str) -> None:
        at = f"connections.{name}"
        if "type" not in section:
            return
        kind = connection_of(section["type"])
        if problem := lacks(kind):
            self._problems.add(f"{at}.type", problem)
        if any(key not in section for key, known in kind.keys.items() if known.required):
            return  # told already
        if "path" in section:
            path = section["path"] = self._absolute(f"{at}.path", section["path"])
            if PurePosixPath(path).is_relative_to(data_dir):
                message = "lies in data_dir, which belongs to the system"
                self._problems.add(f"{at}.path", message, path, "choose another place")
            elif (misplaced := kind.misplaced(path))[0]:
                self._problems.add(f"{at}.path", misplaced[0], path, misplaced[1])
        place, access = kind.leads_to(section), kind.access(section)
        self.connections[name] = ConnectionSpec(name, section["type"], place, section.get("shared", False))
        if access:
            known = name_of(section["type"], place)
            if self.accesses.setdefault(known, access) != access:
                message = f"leads to {place} as another connection does, and gets in otherwise"
                self._problems.add(at, message, suggestion="keep one of them")

    def _absolute(self, at: str, path: str) -> str:
        if path.startswith("~"):
            self._problems.add(at, "~ is not expanded", path, "write ${HOME}" + path[1:])
        return os.path.normpath(self._root / path)

    def _inside(self, at: str, path: str, of: str) -> str:
        """``path`` made tidy; a problem if it leaves the folder it is relative to."""
        if leads_out(path):
            hint = "write a path below it; another folder is another connection"
            self._problems.add(at, f"leads out of {of}", path, hint)
        return os.path.normpath(path)

    # --- nodes ----------------------------------------------------------------------------------------------------

    def _node(self, at: str, node: Section, connections: Section, pipeline: Section) -> None:
        self._retry(f"{at}.retry", pipeline.get("retry", {}), node)
        inputs = node.get("inputs", [])
        if "read" in node:
            if inputs:
                self._problems.add(f"{at}.inputs", "a read node has no inputs", suggestion="delete them")
            self._read(f"{at}.read", node["read"], connections)
        if "transform" in node:
            if not inputs and ("inputs" in node or not self._problems.written(f"{at}.inputs")):
                self._problems.add(f"{at}.transform", "a transform needs inputs", suggestion="inputs: [node, ...]")
            sound = None if BAD in inputs or not inputs else inputs
            self._transform(f"{at}.transform", node["transform"], sound, node.get("state", False))
        if "engine" in node and "transform" not in node:
            self._problems.add(f"{at}.engine", "only a transform has an engine", suggestion="delete it")
        if node.get("state") and "function" not in node.get("transform", {"function": ""}):
            self._problems.add(f"{at}.state", "only a transform with a function keeps state", suggestion="delete it")
        if "write" in node:
            if len(inputs) != 1 and ("inputs" in node or not self._problems.written(f"{at}.inputs")):
                message = f"a write node has exactly one input, this one has {len(inputs)}"
                place = f"{at}.inputs" if inputs else f"{at}.write"
                self._problems.add(
                    place, message, suggestion="join them in a transform" if inputs else "inputs: [node]"
                )
            self._write(f"{at}.write", node["write"], connections)

    def _use(self, at: str, section: Section, connections: Section) -> ConnectionSpec | None:
        name = section.get("connection")
        if name is not None and name not in connections:
            hint = did_you_mean(name, connections, "connections")
            self._problems.add(f"{at}.connection", "unknown connection", name, hint)
        return self.connections.get(name or "")

    def _read(self, at: str, read: Section, connections: Section) -> None:
        mode = read.get("mode", BAD)
        if "function" in read and mode is not BAD and isinstance(source_of(mode), Polling):
            self._read_function(at, read)
            return
        if "connection" not in read and not self._problems.written(f"{at}.connection"):
            self._problems.add(at, 'the key "connection" is missing', suggestion="The connection to read from.")
        connection = self._use(at, read, connections)
        if "table" in read or "query" in read:
            self._read_table(at, read, connection)
            return
        if connection is not None and connection.type in dialects():
            message = f"{connection.name} is a {connection.type} connection, which has tables and no files"
            locals_ = [name for name, known in self.connections.items() if connection_of(known.type).folder]
            hint = f"table: orders; or a local connection, for files: {', '.join(locals_)}"
            self._problems.add(f"{at}.connection", message, suggestion=hint)
            return
        self._format(at, read)
        if connection is not None and not connection_of(connection.type).folder:
            message = f"files are read from a local connection; {connection.name} is {connection.type}"
            locals_ = [name for name, known in self.connections.items() if connection_of(known.type).folder]
            self._problems.add(f"{at}.connection", message, suggestion="local: " + ", ".join(locals_))
        if "path" in read:
            read["path"] = self._inside(f"{at}.path", read["path"], "the connection's folder")
        self._patterns(at, read)
        known = format_of(read["format"]) if "format" in read else None
        self._types(at, read.get("schema", {}), known.name if known is not None and known.texts else "")
        self._columns(at, read)
        self._mode(at, read)
        if known is not None:
            if problem := lacks(known):
                self._problems.add(f"{at}.format", problem)
            for option, value in read.get("options", {}).items():
                for message in check_options(known, {option: value}):
                    self._problems.add(f"{at}.options.{option}", message)

    def _format(self, at: str, read: Section) -> None:
        """That of files has to be said; others have one by their mode."""
        mode = read.get("mode", BAD)
        fixed = source_of(mode).format if mode is not BAD else ""
        if fixed and "format" in read:
            self._problems.add(f"{at}.format", f"mode {mode} takes no format", suggestion="delete it")
        elif fixed:
            read["format"] = fixed
        elif (
            "format" not in read
            and not self._problems.written(f"{at}.format")
            and not self._problems.misspelt(at, "format")
        ):
            self._problems.add(at, 'the key "format" is missing', suggestion="Format of the files.")

    def _read_function(self, at: str, read: Section) -> None:
        """What a function of the project returns."""
        if "connection" in read:
            self._problems.add(f"{at}.connection", "a function reads by itself", suggestion="delete it")

        def report(key: str, message: str, suggestion: str) -> None:
            self._problems.add(f"{at}.{key}", message, suggestion=suggestion)

        if read["function"] is not BAD:
            self._modules.check(read["function"], [], read.get("params", {}), False, report)
        self._types(at, read.get("schema", {}), "")
        self._columns(at, read)
        self._mode(at, read)

    def _read_table(self, at: str, read: Section, connection: ConnectionSpec | None) -> None:
        """Rows of a database."""
        if connection is not None and connection.type not in dialects():
            message = f"a table is read from a SQL connection; {connection.name} is {connection.type}"
            self._problems.add(f"{at}.connection", message, suggestion=f"one of type {', '.join(dialects())}")
        self._types(at, read.get("schema", {}), "a table")
        self._columns(at, read)
        self._mode(at, read)

    def _mode(self, at: str, read: Section) -> None:
        """What the kind of source says of it, and keys that it does not take."""
        if "mode" not in read or BAD in (read["mode"], read.get("format")):
            return
        kind = source_of(read["mode"])
        others = dict.fromkeys(key for name in sources() for key in source_of(name).keys)
        for key in others:
            if key in read and key not in kind.keys:
                takers = ", ".join(name for name in sources() if key in source_of(name).keys)
                message = f"mode {kind.name} takes no {key}"
                self._problems.add(f"{at}.{key}", message, suggestion=f"delete it; it is for mode {takers}")
        for key, message, suggestion in kind.check(read):
            self._problems.add(f"{at}.{key}", message, suggestion=suggestion)

    def _patterns(self, at: str, read: Section) -> None:
        """The patterns of files that are taken, and of those that are not, become one."""
        taken, excluded = read.get("pattern", ["*"]), read.pop("exclude", [])
        if taken is BAD or BAD in taken or excluded is BAD or BAD in excluded:
            read["pattern"] = "*"
            return
        for key, some in (("pattern", taken), ("exclude", excluded)):
            for index, pattern in enumerate(some):
                where = f"{at}.{key}[{index}]" if len(some) > 1 else f"{at}.{key}"
                if pattern_leads_out(pattern):
                    self._problems.add(where, "leads out of the connection's folder", pattern, "such as *.csv")
                elif pattern.startswith(NOT) and (len(taken) > 1 or excluded):
                    remedy = f'exclude: "{pattern[1:]}" takes such files out; ? stands for any character'
                    self._problems.add(where, f"must not begin with {NOT}", pattern, remedy)
        read["pattern"] = several(taken, excluded)

    def _types(self, at: str, schema: Section, flat: str) -> None:
        """``flat``: what is read or written, if it holds nothing but plain values."""
        for column, name in schema.items():
            if name is BAD:
                continue
            try:
                schema[column] = arrow_type(name)
            except UnknownTypeError as error:
                self._problems.add(f"{at}.schema.{column}", str(error), name, error.suggestion)
                continue
            if flat and split(name) is not None:
                message, remedy = f"{flat} holds no lists, structs or maps", "string, of the JSON for example"
                self._problems.add(f"{at}.schema.{column}", message, name, remedy)

    def _columns(self, at: str, read: Section) -> None:
        take, ignore = read.get("columns", []), read.get("ignore", [])
        if BAD in (*take, *ignore, *read.get("optional", [])):
            return
        if take and ignore:
            message = "columns says what is read, so nothing is left to ignore"
            self._problems.add(f"{at}.ignore", message, suggestion="delete one of both")
            return
        for name in read.get("optional", []):
            if name not in read.get("schema", {}) and name not in ignore and not (take and name not in take):
                message = f"column {name!r} has no type: files that lack it tell none"
                self._problems.add(f"{at}.optional", message, suggestion=f"declare it: schema: {typed(name, 'string')}")
        for key in ("schema", "optional"):
            for name in read.get(key, {}):
                if name in ignore or (take and name not in take):
                    says = "is ignored" if name in ignore else "is not among columns, so it is not read"
                    self._problems.add(f"{at}.{key}", f"column {name!r} {says}", suggestion="delete it here or there")

    def _transform(self, at: str, transform: Section, inputs: list[str] | None, state: bool) -> None:
        if "sql_file" in transform:
            self.sql_files[at] = transform["sql_file"]
            transform["sql"] = self._sql_file(f"{at}.sql_file", self.sql_files[at])
        if "params" in transform and "function" not in transform and not self._problems.written(f"{at}.function"):
            self._problems.add(f"{at}.params", "params are for functions", suggestion="write the values into the SQL")
        if "function" in transform:

            def report(key: str, message: str, suggestion: str) -> None:
                self._problems.add(f"{at}.{key}", message, suggestion=suggestion)

            self._modules.check(transform["function"], inputs, transform.get("params", {}), state, report)

    def _sql_file(self, at: str, name: str) -> str:
        path = (self._root / name).resolve()
        if not path.is_relative_to(self._root.resolve()):
            self._problems.add(at, "leads out of the project folder", name, "such as sql/report.sql")
            return ""
        try:
            if path.stat().st_size > MAX_SQL_FILE:
                self._problems.add(at, f"the file is larger than {MAX_SQL_FILE} bytes", name)
                return ""
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            near = [str(known.relative_to(self._root.resolve())) for known in sorted(path.parent.glob("*.sql"))[:100]]
            self._problems.add(at, "there is no such file", name, did_you_mean(name, near, "SQL files beside it"))
            return ""
        except UnicodeDecodeError:
            text = "\0"
        except OSError as error:
            self._problems.add(at, f"the file cannot be read: {error}", name)
            return ""
        if "\0" in text:  # UTF-16 without a mark decodes, too
            self._problems.add(at, "the file is not UTF-8 text", name, "save it as UTF-8")
            return ""
        if not text.strip():
            self._problems.add(at, "the file is empty", name)
        return text

    # --- sinks ----------------------------------------------------------------------------------------------------

    def _write(self, at: str, write: Section, connections: Section) -> None:
        connection = self._use(at, write, connections)
        if connection is not None and connection.type not in sinks():
            message = f"nothing is written to a {connection.type} connection"
            self._problems.add(f"{at}.connection", message, connection.name, f"one of type {', '.join(sinks())}")
            return
        mode = write.get("mode")
        by_keys = mode in ("upsert", "delete")
        if by_keys and not self._problems.written(f"{at}.keys"):
            self._problems.add(f"{at}.mode", f"{mode} needs keys", suggestion="keys: [column, ...]")
        said, remedy = "keys are for upsert and delete", "mode: upsert, or delete them"
        if "keys" in write and not by_keys and not self._problems.written(f"{at}.mode"):
            self._problems.add(f"{at}.keys", said, suggestion=f"add {remedy}")
        elif "keys" in write and mode in ("append", "overwrite"):
            self._problems.add(f"{at}.keys", said, suggestion=remedy)
        self._types(at, write.get("schema", {}), sink_of(connection.type).flat if connection else "")
        if "version" in write:
            if not by_keys and not self._problems.written(f"{at}.keys"):
                message = "version is for upsert and delete"
                self._problems.add(f"{at}.version", message, suggestion="mode: upsert, or delete it")
            elif write["version"] in write.get("keys", []):
                message = "the version is one of the keys, so no row is ever an older one of another"
                self._problems.add(f"{at}.version", message, suggestion="a column that grows, such as updated_at")
        if "max_partitions" in write and not self._problems.written(f"{at}.partition_by"):
            self._problems.add(f"{at}.max_partitions", "it is for partition_by", suggestion="delete it")
        if connection is None:
            return
        sink, kind = sink_of(connection.type), f"{connection.name} is a {connection.type} connection"
        if by_keys and mode not in sink.modes:
            self._problems.add(f"{at}.mode", f"{mode} needs a SQL connection; {kind}", suggestion="mode: append")
        for key in sink.needs:
            if not self._problems.written(f"{at}.{key}") and not self._problems.misspelt(at, key):
                self._problems.add(at, f'the key "{key}" is missing: {kind}', suggestion=f"such as {_EXAMPLE[key]}")
        for key in _EXAMPLE:
            if key in write and key not in (*sink.needs, *sink.takes):
                self._problems.add(f"{at}.{key}", f"does not apply: {kind}", suggestion="delete it")
        self._written(at, write)
        for key in sink.needs:
            if key == "path" and key in write:
                write["path"] = self._inside(f"{at}.path", write["path"], "the connection's folder")
                place = os.path.normpath(os.path.join(connection.path, write["path"]))
                self._target(f"{at}.path", sink, Target(sink.name, "", place))
            elif key == "table" and key in write:
                self._target(f"{at}.table", sink, Target(sink.name, connection.path, write["table"]))

    def _written(self, at: str, write: Section) -> None:
        if "format" not in write or write["format"] is BAD:
            return
        known = writing(write["format"])
        if known is None:
            named = ", ".join(name for name in formats() if writing(name) is not None)
            self._problems.add(f"{at}.format", f"{write['format']} is only read", suggestion=f"written are: {named}")
        elif "compression" in write and not known.packed:
            hint = "delete it, or write another format"
            self._problems.add(f"{at}.compression", f"{known.name} is compressed within", suggestion=hint)
        else:
            self._types(at, write.get("schema", {}), known.name if known.texts else "")

    def _target(self, at: str, sink: Sink, target: Target) -> None:
        message, value = sink.reserved(target)
        if message:
            self._problems.add(at, message, value, "choose another")
        first = self._targets.setdefault(sink.folded(target), at)
        if first != at:
            message = f"another sink writes there: {first} (line {self._problems.line(first)})"
            self._problems.add(at, message, suggestion="a target belongs to one node")

    # --- the graph ------------------------------------------------------------------------------------------------

    def _unique(self, names: list[tuple[str, str | None]], key: str, noun: str) -> None:
        first: dict[str, str] = {}
        for path, name in names:
            at = f"{path}.{key}"
            if name is not None and first.setdefault(name, at) != at:
                line = self._problems.line(first[name])
                self._problems.add(at, f"duplicate {noun} name; first on line {line}", name)

    def _graph(self, path: str, pipeline: Section, nodes: list[tuple[str, Section]]) -> None:
        """Checks all inputs, and puts the nodes into topological order, ties in the order of the file."""
        known: dict[str, Section] = {}
        for _, node in nodes:
            if "name" in node:
                known.setdefault(node["name"], node)
        sinks = {name for name, node in known.items() if "write" in node}
        for at, node in nodes:
            others = [name for name in known if name not in sinks and name != node.get("name")]
            for index, name in enumerate(node.get("inputs", [])):
                if name is BAD:
                    continue
                if name not in known:
                    hint = did_you_mean(name, others, "nodes")
                    self._problems.add(f"{at}.inputs[{index}]", "unknown input", name, hint)
                elif name in sinks:
                    hint = f"use its input: {', '.join(known[name].get('inputs', []))}"
                    self._problems.add(f"{at}.inputs[{index}]", f"{name} is a sink and has no output", suggestion=hint)
        edges = {name: [i for i in node.get("inputs", []) if i in known] for name, node in known.items()}
        order, cycles = sort_nodes(edges)
        for cycle in cycles:
            place = next(at for at, node in nodes if node.get("name") == cycle[0])
            text = " -> ".join([*cycle, cycle[0]])
            self._problems.add(f"{place}.inputs", f"cycle: {text}", suggestion="take one of these inputs away")
        if not cycles and len(known) == len(nodes):
            pipeline["nodes"] = [known[name] for name in order]

    def _sources(self, path: str, pipeline: Section, nodes: list[Section]) -> None:
        reads = [node["read"] for node in nodes if "read" in node]
        if nodes and not self._problems.written(path):
            return
        if not reads:
            if all(("transform" in node) or ("write" in node) for node in nodes) and nodes:
                self._problems.add(f"{path}.nodes", "no node reads anything", suggestion="add a node with read")
            return
        by_data = pipeline.get("trigger") == "data" or not self._problems.written(f"{path}.trigger")
        if by_data and all("mode" in read and source_of(read["mode"]).consumption == "pinned" for read in reads):
            at = f"{path}.trigger" if self._problems.written(f"{path}.trigger") else f"{path}.nodes"
            message = "trigger: data needs a source that is watched (mode: file_watch); all of these are batch"
            self._problems.add(at, message, suggestion="trigger: schedule, or manual")

    # --- schedules ------------------------------------------------------------------------------------------------

    def _schedules(self, checker: ScheduleChecker, pipelines: list[tuple[str, Section]]) -> None:
        """Each schedule by itself, then what they say together: names, triggers, who comes after whom."""
        follows: dict[str, dict[str, str]] = {}  # pipeline -> the ones it comes after -> where it says so
        for path, pipeline in pipelines:
            name = pipeline.get("pipeline", "")
            self._trigger(path, pipeline)
            self._unique([(at, one.get("name")) for at, one in _items(pipeline, "schedules", path)], "name", "schedule")
            for at, one in _items(pipeline, "schedules", path):
                for earlier in checker.schedule(at, one, name):
                    follows.setdefault(name, {}).setdefault(earlier, f"{at}.after")
        edges = {name: [earlier for earlier in given if earlier in follows] for name, given in follows.items()}
        for cycle in sort_nodes(edges)[1]:
            place = follows[cycle[0]][cycle[1]]
            text = " after ".join([*cycle, cycle[0]])
            self._problems.add(place, f"cycle: {text}", suggestion="take one of these away")

    def _trigger(self, path: str, pipeline: Section) -> None:
        trigger, at = pipeline.get("trigger"), f"{path}.trigger"
        if not self._problems.written(f"{path}.schedules"):
            if trigger == "schedule":
                hint = 'schedules: [{name: hourly, cron: "0 * * * *"}]'
                self._problems.add(at, "trigger: schedule needs schedules", suggestion=hint)
        elif trigger != "schedule" and (trigger is not None or not self._problems.written(at)):
            place = at if trigger is not None else f"{path}.schedules"
            message = f"schedules are for trigger: schedule, this one is {trigger or 'data'}"
            self._problems.add(place, message, suggestion="trigger: schedule")

    def _retry(self, at: str, outer: Section, section: Section) -> None:
        defaults = RetrySpec()
        merged = outer | section.get("retry", {})
        longest = merged.get("max", defaults.max)
        if self._problems.written(at) and merged.get("initial", defaults.initial) > longest:
            self._problems.add(at, "initial is longer than max", suggestion="raise max")


_EXAMPLE = {
    "path": "path: flights",
    "format": "format: parquet",
    "table": "table: delays",
    "compression": "compression: gzip",
    "partition_by": "partition_by: [country]",
    "max_partitions": "max_partitions: 1000",
}


def _items(section: Section, key: str, path: str = "") -> Iterator[tuple[str, Section]]:
    for index, item in enumerate(section.get(key, [])):
        if item is not BAD:
            yield (f"{path}.{key}[{index}]" if path else f"{key}[{index}]"), item
