"""Broken projects, and what is said about each: the specification of the messages."""

from __future__ import annotations

import pytest

from tests.config.conftest import Project

# (what is replaced in the valid project, by what, all problems that must be reported, without "odibi.yaml:")
READ = 'read: {connection: landing, format: csv, mode: file_watch, pattern: "*.csv"}'
SQL = 'transform: {sql: "select carrier, count(*) as n from clean group by all"}'
FUNCTION = 'transform: {function: "nodes.flights:clean", params: {max_delay: 600}}'
LAKE = "write: {connection: lake, path: flights, format: parquet}"
MART = "write: {connection: mart, table: delays, mode: upsert, keys: [carrier]}"
JOIN = "delete one of both, or join them"
N = "pipelines[0].nodes"

KEYS = [
    ("transform: {sql", "transfrom: {sql", [f'17:9: {N}[2].transfrom: unknown key; did you mean "transform"?']),
    ("workers: 2", "colour: red", ["2:1: colour: unknown key; known keys: project, description, data_dir, workers, "
        "worker, history, history_size, connections, pipelines, alerts"]),
    ("project: flights\n", "", ['1:1: the key "project" is missing; Name of the project.']),
    ("project: flights\n", "projct: flights\n", ['1:1: projct: unknown key; did you mean "project"?']),
    ("workers: 2", "workers: 2\nworkers: 3", [f"3:1: workers: duplicate key; first on line 2; {JOIN}"]),
    ("  mart: {", "  lake: {", [f"6:3: connections.lake: duplicate key; first on line 5; {JOIN}",
        f'23:29: {N}[4].write.connection: unknown connection (got mart); connections: landing, lake']),
    ("    timeout: 10m", "    1: 10m", ['25:5: pipelines[0].1: a key must be text (got 1); write "1"']),
    ("    timeout: 10m", "    timeout:", ["25:5: pipelines[0].timeout: is empty; give it a value or delete the key"]),
    ("workers: 2", "worker: 2", ["2:9: worker: must be a mapping (got 2); keys: max_tasks, max_memory; how many there "
        "are is `workers`"]),
    ("workers: 2", "worker: {max_tasks: 0, max_memory: 10MB}", [
        "2:21: worker.max_tasks: must be from 1 to 1000000000000 (got 0)",
        "2:36: worker.max_memory: must be at least 50MB (got 10MB)"]),
    ("workers: 2", "<<: {workers: 2}", ["2:1: <<: unknown key; known keys: project, description, data_dir, workers, "
        "worker, history, history_size, connections, pipelines, alerts"]),
]  # fmt: skip
VALUES = [
    ("workers: 2", "workers: two", ["2:10: workers: must be a whole number (got two)"]),
    ("workers: 2", "workers: true", ["2:10: workers: must be a whole number (got true)"]),
    ("workers: 2", "workers: 0", ["2:10: workers: must be from 1 to 1000 (got 0)"]),
    ("workers: 2", "workers: [2]", ["2:10: workers: must be a whole number, not a sequence"]),
    ("max_attempts: 3", "max_attempts: 0", ["24:27: pipelines[0].retry.max_attempts: must be from 1 to 1000 (got 0)"]),
    ("initial: 1s", "jitter: .nan", ["24:38: pipelines[0].retry.jitter: must be from 0 to 1 (got .nan)"]),
    ("initial: 1s", "initial: 2m", ["24:5: pipelines[0].retry: initial is longer than max; raise max"]),
    ("timeout: 10m", "timeout: 10 minuts", ["25:14: pipelines[0].timeout: not a duration (got 10 minuts); "
        "write a number and a unit, such as 250ms, 10s, 5m, 1h or 7d"]),
    ("timeout: 10m", "timeout: 0s", ["25:14: pipelines[0].timeout: must be at least 1ms (got 0s)"]),
    ("timeout: 10m", "batch: {max_bytes: 256}", ["25:24: pipelines[0].batch.max_bytes: not a size (got 256); "
        "write a number and a unit, such as 512B, 64KB, 256MB or 1GiB"]),
    ("timeout: 10m", "on_error: stop", ["25:15: pipelines[0].on_error: unknown value (got stop); "
        "one of: halt, dead_letter"]),
    ("timeout: 10m", "on_error: dead_leter", ['25:15: pipelines[0].on_error: unknown value (got dead_leter); '
        'did you mean "dead_letter"?']),
    ("name: clean", "name: Clean", [
        f"12:15: {N}[1].name: must be a name: lower-case letters, digits, _ ([a-z][a-z0-9_]*) (got Clean)",
        f"16:18: {N}[2].inputs[0]: unknown input (got clean); nodes: flights",
        f"19:18: {N}[3].inputs[0]: unknown input (got clean); nodes: flights, by_carrier"]),
    ("  mart: {", "  Mart: {", [
        "6:3: connections.Mart: must be a name: lower-case letters, digits, _ ([a-z][a-z0-9_]*) (got Mart)",
        f"23:29: {N}[4].write.connection: unknown connection (got mart); connections: landing, lake"]),
    ("inputs: [flights]", "inputs: flights", [f"13:17: {N}[1].inputs: must be a list (got flights); write [flights]"]),
    ("inputs: [flights]", "inputs: [flights, flights]", [f"13:27: {N}[1].inputs[1]: listed twice (got flights)"]),
    ("keys: [carrier]", "keys: []", [f"23:70: {N}[4].write.keys: must not be empty"]),
    ("keys: [carrier]", "keys: [1]", [f'23:71: {N}[4].write.keys[0]: must be text (got 1); quote it: "1"']),
    ("table: delays", 'table: "a; drop"', [f"23:42: {N}[4].write.table: must be a table name: letters, digits, _ "
        "(got a; drop)"]),
    ("path: flights", 'path: "flights#1"', [f"20:41: {N}[3].write.path: a folder to write to has no # in its name: "
        "that stands between a database and its table (got flights#1); choose another"]),
    ("table: delays", "table: sqlite_x", [f"23:42: {N}[4].write.table: the name is reserved (got sqlite_x); "
        "choose another"]),
    ('pattern: "*.csv"', "schema: {a: int65, b: varchar}", [
        f'11:80: {N}[0].read.schema.a: not an Arrow type (got int65); did you mean "int64"?',
        f"11:90: {N}[0].read.schema.b: not an Arrow type (got varchar); did you mean \"string\"?"]),
    ('pattern: "*.csv"', 'schema: {a: "timestamp[us, tz=Mars/Base]"}', [
        f"11:80: {N}[0].read.schema.a: there is no time "
        "zone Mars/Base (got timestamp[us, tz=Mars/Base]); write one such as UTC or America/New_York"]),
    ('pattern: "*.csv"', 'schema: {a: "decimal128(39, 2)"}', [f"11:80: {N}[0].read.schema.a: not a decimal Arrow has "
        "(got decimal128(39, 2)); the precision is from 1 to 38, the scale at most that"]),
    ('pattern: "*.csv"', 'schema: {a: "list<int65>", b: "list<>", c: "list<int64>"}', [
        f'11:80: {N}[0].read.schema.a: not an Arrow type (got list<int65>); did you mean "int64"?',
        f"11:98: {N}[0].read.schema.b: not an Arrow type (got list<>); write list<TYPE>, such as list<int64>",
        f"11:111: {N}[0].read.schema.c: csv holds no lists, structs or maps (got list<int64>); string, of the JSON for "
        "example"]),
    ("table: delays", 'table: delays, schema: {a: "map<string, int64>"}', [
        f"23:62: {N}[4].write.schema.a: SQLite holds no lists, structs or maps (got map<string, int64>); string, of "
        "the JSON for example"]),
    ('pattern: "*.csv"', "options: {delimeter: ';'}", [f"11:89: {N}[0].read.options.delimeter: unknown option "
        "'delimeter' of format csv; did you mean 'delimiter'?"]),
    ("max_delay: 600", "max_delay: 99999999999999999999", [f"14:74: {N}[1].transform.params.max_delay: "
        "does not fit into 64 bits (got 99999999999999999999); quote it"]),
    ("max_delay: 600", f"max_delay: [01067, -007.5, 0.1234567890123456789, 1e400, 1e-400, {1_000:0>2000}]", [
        f"14:75: {N}[1].transform.params.max_delay[0]: would become 1067 as a number (got 01067); quote it",
        f"14:82: {N}[1].transform.params.max_delay[1]: would become -7.5 as a number (got -007.5); quote it",
        f"14:90: {N}[1].transform.params.max_delay[2]: would become 0.12345678901234568 as a number "
        "(got 0.1234567890123456789); quote it",
        f"14:113: {N}[1].transform.params.max_delay[3]: would become inf as a number (got 1e400); quote it",
        f"14:120: {N}[1].transform.params.max_delay[4]: would become 0.0 as a number (got 1e-400); quote it",
        f"14:128: {N}[1].transform.params.max_delay[5]: would become 1000.0 as a number (got {0:0>80}...); quote it"]),
    ("retry: {max_attempts: 3", "retry: {max_attempts: 010", [
        "24:27: pipelines[0].retry.max_attempts: would become 10 as a number (got 010); write what is meant"]),
]  # fmt: skip
NODES = [
    ("        " + READ, "        description: x", [f"10:9: {N}[0]: needs one of: read, transform, write"]),
    ("        " + LAKE, f"        {LAKE}\n        {SQL}", [
        f'21:9: {N}[3].transform: only one of read, transform, write, '
        'and "write" is there; keep one']),
    ("        " + READ, f"        inputs: [clean]\n        {READ}", [
        f"11:9: {N}[0].inputs: a read node has no inputs; delete them",
        f"11:9: {N}[0].inputs: cycle: flights -> clean -> flights; take one of these inputs away"]),
    ("        inputs: [by_carrier]\n", "", [f"22:9: {N}[4].write: a write node has exactly one input, this one has 0; "
        "inputs: [node]"]),
    ("inputs: [by_carrier]", "inputs: [by_carrier, clean]", [
        f"22:9: {N}[4].inputs: a write node has exactly one input, "
        "this one has 2; join them in a transform"]),
    ("        inputs: [clean]\n        " + SQL, "        " + SQL, [f"16:9: {N}[2].transform: a transform needs inputs; "
        "inputs: [node, ...]"]),
    ("inputs: [by_carrier]", "inputs: [by_carier]", [f'22:18: {N}[4].inputs[0]: unknown input (got by_carier); '
        'did you mean "by_carrier"?']),
    ("inputs: [by_carrier]", "inputs: [lake_flights]", [f"22:18: {N}[4].inputs[0]: lake_flights is a sink and has no "
        "output; use its input: clean"]),
    ("inputs: [flights]", "inputs: [by_carrier, flights]", [
        f"13:9: {N}[1].inputs: cycle: clean -> by_carrier -> clean; take one of these inputs away",
        f"14:31: {N}[1].transform.function: nodes/flights.py:5: clean() has no parameter for the input "
        "by_carrier; add one, or take the input away"]),
    ("name: by_carrier", "name: clean", [f"15:15: {N}[2].name: duplicate node name; first on line 12 (got clean)",
        f"22:18: {N}[4].inputs[0]: unknown input (got by_carrier); nodes: flights, clean"]),
    (SQL, "transform: {sql: x, sql_file: y.sql}", [
        f'17:29: {N}[2].transform.sql_file: only one of function, sql, sql_file, and "sql" is there; keep one',
        f"17:39: {N}[2].transform.sql_file: there is no such file (got y.sql); there are no SQL files beside it"]),
    (SQL, "transform: {params: {a: 1}}", [f"17:20: {N}[2].transform: needs one of: function, sql, sql_file",
        f"17:21: {N}[2].transform.params: params are for functions; write the values into the SQL"]),
    (SQL, "transform: {sql_file: ../../x.sql}", [f"17:31: {N}[2].transform.sql_file: leads out of the project folder "
        "(got ../../x.sql); such as sql/report.sql"]),
    ("mode: file_watch", "mode: batch", [f"9:5: {N}: trigger: data needs a source that is watched (mode: file_watch); "
        "all of these are batch; trigger: schedule, or manual"]),
    (f"      - name: flights\n        {READ}\n", "", [
        f'11:18: {N}[0].inputs[0]: unknown input (got flights); nodes: by_carrier',
        f"9:5: {N}: no node reads anything; add a node with read"]),
]  # fmt: skip
FUNCTIONS = [
    ("flights:clean", "flights:claen", [f'14:31: {N}[1].transform.function: nodes/flights.py has no function claen; '
        'did you mean "clean" (line 5)?']),
    ("flights:clean", "flights:xyz", [f"14:31: {N}[1].transform.function: nodes/flights.py has no function xyz; "
        "it defines: clean, join, late"]),
    ("nodes.flights:clean", "nodes.fligths:clean", [f'14:31: {N}[1].transform.function: there is no file '
        'nodes/fligths.py; did you mean "nodes/flights.py"?']),
    ("nodes.flights:clean", "os.path:join", [f"14:31: {N}[1].transform.function: the module os.path is not in nodes/; "
        "functions live in nodes/*.py, such as nodes.flights:clean"]),
    ("nodes.flights:clean", "nodes.flights.clean", [f"14:31: {N}[1].transform.function: must be module:function, such "
        "as nodes.flights:clean (got nodes.flights.clean)"]),
    ("flights:clean", "flights:late", [f"14:31: {N}[1].transform.function: nodes/flights.py:13: late() is async; "
        "write a plain def"]),
    ("max_delay: 600", "max_dely: 600", [f"14:73: {N}[1].transform.params.max_dely: "
        'nodes/flights.py:5: clean() has no such parameter; did you mean "max_delay"?']),
    ("max_delay: 600", "flights: 1", [f"14:72: {N}[1].transform.params.flights: is the name of an input as well; "
        "rename one of them"]),
    ("flights:clean", "flights:join", [
        f"14:31: {N}[1].transform.function: nodes/flights.py:9: join() has the parameter how, and nothing is "
        "given for it; name it in inputs or params, or give it a default",
        f"14:31: {N}[1].transform.function: nodes/flights.py:9: join() has the parameter right, and nothing is "
        "given for it; name it in inputs or params, or give it a default",
        f"14:73: {N}[1].transform.params.max_delay: nodes/flights.py:9: join() has no such parameter; "
        "its parameters: left, right, how"]),
]  # fmt: skip
PLACES = [
    ("connection: landing", "connection: landng", [f'11:28: {N}[0].read.connection: unknown connection (got landng); '
        'did you mean "landing"?']),
    ("connection: landing", "connection: mart", [f"11:28: {N}[0].read.connection: mart is a sqlite connection, "
        "which has tables and no files; table: orders; or a local connection, for files: landing, lake"]),
    ('pattern: "*.csv"', "path: a/../../b", [f"11:74: {N}[0].read.path: leads out of the connection's folder "
        "(got a/../../b); write a path below it; another folder is another connection"]),
    ('pattern: "*.csv"', "pattern: ../*.csv", [f"11:77: {N}[0].read.pattern: leads out of the connection's folder "
        "(got ../*.csv); such as *.csv"]),
    ('pattern: "*.csv"', "pattern: /etc/*", [f"11:77: {N}[0].read.pattern: leads out of the connection's folder "
        "(got /etc/*); such as *.csv"]),
    ("path: flights", "path: /etc", [f"20:41: {N}[3].write.path: leads out of the connection's folder (got /etc); "
        "write a path below it; another folder is another connection"]),
    ("path: data/lake", "path: ~/lake", ["5:29: connections.lake.path: ~ is not expanded (got ~/lake); "
        "write ${HOME}/lake"]),
    ("type: sqlite", "type: kafka", ["6:16: connections.mart.type: not available in this version (got kafka); "
        "one of: local, postgres, duckdb, sqlite"]),
    ("type: sqlite", "type: sqlight", ['6:16: connections.mart.type: unknown value (got sqlight); '
        'did you mean "sqlite"?']),
    (MART, LAKE, [f"23:41: {N}[4].write.path: another sink writes there: {N}[3].write.path (line 20); "
        "a target belongs to one node"]),
    (LAKE, MART.replace("delays", "Delays"), [f"23:42: {N}[4].write.table: another sink writes there: "
        f"{N}[3].write.table (line 20); a target belongs to one node"]),
    (LAKE, LAKE.replace("format", "mode: upsert, keys: [a], format"), [f"20:56: {N}[3].write.mode: upsert needs a SQL "
        "connection; lake is a local connection; mode: append"]),
    (", keys: [carrier]", "", [f"23:56: {N}[4].write.mode: upsert needs keys; keys: [column, ...]"]),
    ("mode: upsert, ", "", [f"23:50: {N}[4].write.keys: keys are for upsert and delete; add mode: upsert, or delete "
        "them"]),
    ("mode: upsert", "mode: overwrite", [f"23:67: {N}[4].write.keys: keys are for upsert and delete; mode: upsert, or "
        "delete them"]),
    (LAKE, LAKE.replace("format", "mode: overwrit, format"), [f"20:56: {N}[3].write.mode: unknown value "
        '(got overwrit); did you mean "overwrite"?']),
    ("mode: upsert", "mode: append", [f"23:64: {N}[4].write.keys: keys are for upsert and delete; mode: upsert, or "
        "delete them"]),
    ("table: delays", "path: delays", [
        f'23:9: {N}[4].write: the key "table" is missing: mart is a sqlite connection; such as table: delays',
        f"23:41: {N}[4].write.path: does not apply: mart is a sqlite connection; delete it"]),
    (LAKE, "write: {connection: lake, table: flights}", [
        f'20:9: {N}[3].write: the key "format" is missing: lake is a local connection; such as format: parquet',
        f'20:9: {N}[3].write: the key "path" is missing: lake is a local connection; such as path: flights',
        f"20:42: {N}[3].write.table: does not apply: lake is a local connection; delete it"]),
]  # fmt: skip
LATER = [
    ("mode: file_watch", "mode: incremental, settle: 1s", [
        f"11:77: {N}[0].read.settle: mode incremental takes no settle; delete it; it is for mode batch, file_watch"]),
    ("mode: file_watch", "mode: file_watch, on_change: error", [
        f"11:79: {N}[0].read.on_change: mode file_watch takes no on_change; delete it; it is for mode incremental"]),
    ("format: csv", "format: cvs", [f"11:45: {N}[0].read.format: unknown value (got cvs); "
        'did you mean "csv"?']),
    ("format: parquet", "format: parquet, partition_by: [a/b]", [
        f"20:82: {N}[3].write.partition_by[0]: must be a column that can name a folder: letters, digits, _, "
        "and a letter first; rename it in the node's SQL (got a/b)"]),
    ("format: parquet", "format: parquet, partition_by: [_k]", [
        f"20:82: {N}[3].write.partition_by[0]: must be a column that can name a folder: letters, digits, _, "
        "and a letter first; rename it in the node's SQL (got _k)"]),
    ("format: parquet", "format: parquet, max_partitions: 5", [
        f"20:83: {N}[3].write.max_partitions: it is for partition_by; delete it"]),
    ("mode: upsert, keys", "partition_by: [carrier], mode: upsert, keys", [
        f"23:50: {N}[4].write.partition_by: does not apply: mart is a sqlite connection; delete it"]),
    ("params: {max_delay: 600}", "state: true", [f"14:54: {N}[1].transform.state: unknown key; "
        "known keys: function, sql, sql_file, params"]),
    ("name: clean\n", "name: clean\n        state: true\n", [
        f"15:31: {N}[1].transform.function: nodes/flights.py:5: clean() has no parameter state; "
        "add one: it is given what was kept, or None"]),
    ("name: clean\n", "name: clean\n        requires: [gpu]\n", [
        f"13:19: {N}[1].requires: not available in this version; "
        "delete it"]),
]  # fmt: skip
PATTERNS = [
    (READ, READ.replace('"*.csv"', '["*.csv", "../*.csv"]'), [
        f"11:87: {N}[0].read.pattern[1]: leads out of the connection's folder (got ../*.csv); such as *.csv"]),
    (READ, READ.replace('"*.csv"', '["*.csv", "*.csv"]'), [f'11:87: {N}[0].read.pattern[1]: listed twice (got *.csv)']),
    (READ, READ.replace('"*.csv"', '"!a.csv", exclude: "/x"'), [
        f'11:77: {N}[0].read.pattern: must not begin with ! (got !a.csv); exclude: "a.csv" takes such files out; '
        "? stands for any character",
        f"11:96: {N}[0].read.exclude: leads out of the connection's folder (got /x); such as *.csv"]),
    (READ, READ.replace('pattern: "*.csv"', 'exclude: []'), [f"11:77: {N}[0].read.exclude: must not be empty"]),
]  # fmt: skip
CASES = [*KEYS, *VALUES, *NODES, *FUNCTIONS, *PLACES, *LATER, *PATTERNS]


@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_a_broken_project_is_told_where_what_and_how_to_fix(
    project: Project, old: str, new: str, expected: list[str]
) -> None:
    project.edit(old, new)
    assert sorted(project.problems()) == sorted(f"odibi.yaml:{line}" for line in expected)
