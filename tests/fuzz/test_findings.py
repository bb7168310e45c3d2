"""What strangers' bytes could do, each once found by reading or fuzzing: first the test, then the fix."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from odibi_actors import messages as m
from odibi_actors.actor import Send, Stop
from odibi_actors.broker.commands import checked
from odibi_actors.checkpoint import records as rec
from odibi_actors.checkpoint.actor import StoreActor
from odibi_actors.checkpoint.driver import StoreDriver
from odibi_actors.checkpoint.engine import Engine
from odibi_actors.checkpoint.schema import unseal
from odibi_actors.checkpoint.tables import PlanDecoder
from odibi_actors.cli import errors, output
from odibi_actors.client import read_connection
from odibi_actors.config import load_project
from odibi_actors.config.model import NodeSpec, PipelineSpec, ProjectSpec, RetrySpec, TransformSpec
from odibi_actors.errors import ConfigError, ConflictError, ProtocolError, StoreError, UnreachableError
from odibi_actors.model import Attempt
from odibi_actors.nodes.formats import Malformed, parquet
from odibi_actors.nodes.formats.columns import Wanted
from odibi_actors.nodes.sinks.owner import OWNER_FILE, folder_owner
from odibi_actors.runtime import log, paths, process, wire
from odibi_actors.runtime.visible import visible
from odibi_actors.scheduler.actor import SchedulerActor
from odibi_actors.sources.events import desk
from odibi_actors.streaming import offers as offers_module
from odibi_actors.streaming.actor import SourceActor
from odibi_actors.streaming.patterns import Pattern
from odibi_actors.workers import link
from tests.broker.harness import CLIENT, Broker, pipeline
from tests.fuzz.samples import MESSAGES
from tests.fuzz.targets import YAML, FakeContext
from tests.streaming.harness import System, source_spec

STRANGERS = ["client-t", "pool-9", "scheduler", "nobody"]


# --- who may say what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", STRANGERS)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_the_store_is_told_things_by_the_broker_alone(sender: str, message: m.Message) -> None:
    actor = StoreActor("s1", "host", 1, "store", 1, 0)
    actor.handle(m.LOCAL, m.Connected(), 1.0)
    effects = actor.handle(sender, message, 2.0)
    asked = isinstance(message, m.Request | m.LedgerQuery | m.LedgerLook | m.PlacesQuery)
    assert [type(effect).__name__ for effect in effects] == (["Read"] if asked else [])
    effects = actor.flush(2.0)
    assert not [e for e in effects if isinstance(e, Send | Stop) or type(e).__name__ in ("Write", "SetEpoch")]


@pytest.mark.parametrize("make", [SourceActor, SchedulerActor])
@pytest.mark.parametrize("sender", ["client-t", "pool-9", "nobody"])
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_source_and_scheduler_are_told_things_by_the_broker_alone(make: Any, sender: str, message: m.Message) -> None:
    actor = make("i1", "host", 1)
    actor.handle(m.LOCAL, m.Connected(), 1.0)
    effects = actor.handle(sender, message, 1.0) + actor.flush(1.5)
    assert all(isinstance(e, Send) and e.to == sender and isinstance(e.message, m.Reply) for e in effects)


@pytest.mark.parametrize("sender", STRANGERS)
def test_a_broker_takes_its_snapshot_from_the_store_alone(sender: str) -> None:
    broker = Broker(recover=True)
    broker.say(m.STORE, m.StoreHello("s1", "host", 1, "store", 0, 0))
    broker.say(m.STORE, m.Claimed(1, 0, "b1"))
    broker.say(sender, m.LoadedPage(1, [], "", ""))
    assert broker.actor.flow is None


def test_a_snapshot_that_does_not_fit_together_is_a_named_stop() -> None:
    broker = Broker(recover=True)
    broker.say(m.STORE, m.StoreHello("s1", "host", 1, "store", 0, 0))
    broker.say(m.STORE, m.Claimed(1, 0, "b1"))
    broker.say(m.STORE, m.LoadedPage(1, [rec.LoadedSetting(rec.Setting("workers.", "h", "many"))], "", ""))
    (stop,) = [effect for effect in broker.effects if isinstance(effect, Stop)]
    assert stop.code == 70
    assert "does not fit together" in stop.reason


# --- requests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "params"),
    [
        ("iteration.wait", {"pipeline": "p", "iteration": [1]}),
        ("iteration.wait", {"pipeline": "p", "for": 5}),
        ("iteration.wait", {"pipeline": "p", "for": [["committed"]]}),
        ("pipeline.show", {"pipeline": ["p"]}),
        ("pipeline.show", {"pipeline": "p" * 5000}),
        ("worker.scale", {"workers": 1, "host": []}),
        ("worker.scale", {"workers": True}),
        ("worker.kill", {"worker": {}}),
        ("pipeline.trigger", {"pipeline": "p", "run": "r" * 5000}),
        ("run.wait", {"run": 7}),
        ("iteration.abandon", {"pipeline": "p", "iteration": 1, "sink": ["a"]}),
        ("pipeline.rewind", {"pipeline": "p", "to": [1]}),
        ("deadletter.replay", {"letter": {}}),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_answered(verb: str, params: dict[str, object]) -> None:
    broker = Broker(pipeline(trigger="manual")).start()
    reply = broker.ask(verb, **params)
    assert reply is not None
    assert reply.status == 2
    assert len(reply.error) < 1000


def test_what_a_wait_has_asked_the_sources_for_is_not_for_a_client_to_say() -> None:
    broker = Broker().start()
    assert broker.ask("iteration.wait", pipeline="p", look=["x"]) is None
    (look,) = broker.take(m.Discover)
    assert look.run.startswith("look-")


def test_that_a_rewind_is_in_order_is_not_for_a_client_to_say() -> None:
    given = {"pipeline": "p", "to": 1, "begun": True}
    assert "begun" not in checked("pipeline.rewind", given)


def test_requests_that_wait_are_bounded() -> None:
    broker = Broker().start()
    broker.say(CLIENT, m.Hello("client", "c1", "host", 9))
    for number in range(2000):
        broker.say(CLIENT, m.Request(str(number), "iteration.wait", {"pipeline": "p", "iteration": 99}))
    replies = broker.take(m.Reply)
    assert {reply.status for reply in replies} == {4}
    assert 1000 < len(replies) < 2000


@pytest.mark.parametrize("verb", ["iteration.show", "node.list", "version.show", "iteration.list"])
def test_numbers_that_the_database_cannot_hold_are_answered(verb: str) -> None:
    driver = StoreDriver(Engine(":memory:"))
    names = {"version.show": "version", "iteration.list": "limit"}
    params = {"pipeline": "p", names.get(verb, "iteration"): 2**63}
    reply = driver._reply(m.Request("1", verb, params))
    assert reply.status == 2
    assert driver._reply(m.Request("1", verb, {**params, "pipeline": "p" * 100_000})).status == 2


def spec(*nodes: NodeSpec, **more: Any) -> ProjectSpec:
    return ProjectSpec("test", "/", "/data", 2, [PipelineSpec("q", list(nodes), **more)], code_digest="code")


READ, CHAIN, *_ = pipeline().nodes


@pytest.mark.parametrize(
    "bad",
    [
        spec(),
        spec(NodeSpec("t", ["gone"], transform=TransformSpec(sql="select 1"))),
        spec(NodeSpec("t", ["t"], transform=TransformSpec(sql="select 1"))),
        spec(READ, READ),
        spec(READ, msgspec.structs.replace(CHAIN, inputs=["read", "read"])),
        spec(NodeSpec("t")),
        spec(msgspec.structs.replace(READ, name="../../x")),
        spec(msgspec.structs.replace(READ, timeout=float("nan"))),
        spec(msgspec.structs.replace(READ, retry=RetrySpec(max_attempts=10**9))),
        spec(msgspec.structs.replace(READ, retry=RetrySpec(initial=float("inf")))),
        spec(READ, max_in_flight=2**60),
        msgspec.structs.replace(spec(READ), history=float("nan")),
    ],
)
def test_a_project_no_file_could_say_is_refused_before_anything_of_it_is_durable(bad: ProjectSpec) -> None:
    broker = Broker().start()
    before = len(broker.records)
    broker.say(CLIENT, m.Hello("client", "c1", "host", 9))
    broker.say(CLIENT, m.Apply("1", bad))
    (reply,) = broker.take(m.Reply)
    assert reply.status == 2
    assert "cannot be applied" in reply.error
    assert broker.records[before:] == []


# --- frames -------------------------------------------------------------------------------------------------------


def test_a_client_can_say_only_what_clients_say() -> None:
    for message in MESSAGES:
        found = wire.decode_body(wire.encode_body(message), sender="client-1")
        assert isinstance(found, m.Hello | m.Request | m.Apply | m.Push | m.Bye | ProtocolError)


def test_a_small_frame_cannot_become_a_large_value() -> None:
    bomb = wire.encode_body(m.Request("1", "v", {"p": [[]] * wire.SMALL_MAX}))
    for sender in ("", "client-1", "pool-1"):
        assert isinstance(wire.decode_body(bomb, sender=sender), ProtocolError)
        assert not wire.fits(bomb, sender)
    with pytest.raises(ProtocolError, match="Request"):
        list(wire.bodies(m.Request("1", "v", {"p": [[]] * wire.SMALL_MAX})))


def test_what_is_pushed_may_be_large_as_its_bytes_are_one_value() -> None:
    most = m.Push("1", "p", "src", b"x" * desk.MAX_DATA, "k" * desk.MAX_KEY)
    (body,) = wire.bodies(most)
    assert wire.decode_body(body, sender="client-1") == most
    assert isinstance(wire.decode_body(body + b"x" * 10_000, sender="client-1"), ProtocolError)


def test_messages_that_carry_work_may_be_large_and_those_of_clients_not() -> None:
    heartbeat = wire.encode_body(m.Heartbeat(1, [Attempt(1, i) for i in range(50_000)]))
    assert len(heartbeat) > wire.SMALL_MAX
    assert isinstance(wire.decode_body(heartbeat, sender="pool-0"), m.Heartbeat)
    assert isinstance(wire.decode_body(heartbeat, sender="client-1"), ProtocolError)


def test_any_number_of_strangers_does_not_make_the_hub_forget_an_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PEERS_MAX", 10)
    hub = process.HubLink(FakeContext(), "b1", [])  # type: ignore[arg-type]
    for name in ("store", "source", "scheduler", "pool-0", *(f"client-{n}" for n in range(50))):
        hub._admit(wire.Header(wire.MAGIC, "broker", name, "1"), wire.identity(name, "1"))
    assert len(hub._peers) == 10
    assert {"store", "source", "scheduler", "pool-0", "client-49"} <= hub._peers.keys()


def test_a_flood_of_garbage_does_not_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    complain = log.Complaints("broker")
    for number in range(10_000):
        complain("dropped a frame", {"number": number})
    assert len(capsys.readouterr().err.splitlines()) == complain.MOST


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "data_dir: " + "[" * 20_000,
        "workers: 1\nx: " + "{a: " * 5000,
        "data_dir: x\ny: 2024-99-99\nz: !!python/object:os.system x",
        "data_dir: x\n" + "#" * 300_000,
        'data_dir: "\\0"',
        "%YAML 1.0\n---\ndata_dir: x",
    ],
)
def test_a_hostile_project_file_is_a_named_error_in_every_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "odibi.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"odibi\.yaml"):
        paths.basics(tmp_path)
    with pytest.raises(ConfigError):
        load_project(tmp_path, {})


@pytest.mark.parametrize("workers", ["²", "9" * 5000, "-1", "[1]", "0x10"])
def test_a_strange_number_of_workers_is_left_to_the_broker_to_report(tmp_path: Path, workers: str) -> None:
    (tmp_path / "odibi.yaml").write_text(f"workers: {workers}\n")
    assert paths.basics(tmp_path).workers is None


def test_a_pipe_where_a_file_is_expected_does_not_hang(tmp_path: Path) -> None:
    for name in ("odibi.yaml", "connection.json"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="not a file"):
        paths.basics(tmp_path)
    with pytest.raises(ConfigError, match="not a file"):
        load_project(tmp_path, {})
    with pytest.raises(UnreachableError, match="not a file"):
        read_connection(tmp_path / "connection.json")


def test_texts_shared_by_aliases_are_counted_where_they_are_used(tmp_path: Path) -> None:
    lines = "".join(f"  k{number}: *a\n" for number in range(2000))
    (tmp_path / "odibi.yaml").write_text(f'x: &a "{"y" * 50_000}"\nz:\n{lines}')
    with pytest.raises(ConfigError, match="characters"):
        load_project(tmp_path, {})
    (tmp_path / "odibi.yaml").write_text("z: [" + ", ".join(['"${BIG}"'] * 2000) + "]\n")
    with pytest.raises(ConfigError, match="characters"):
        load_project(tmp_path, {"BIG": "y" * 50_000})


def test_the_project_of_the_fuzzer_is_valid(tmp_path: Path) -> None:
    (tmp_path / "odibi.yaml").write_bytes(YAML)
    assert load_project(tmp_path, {}).name == "x"


@pytest.mark.parametrize("text", ['project: "\\ud800"', '"\\udfff": 1', "project: ${BROKEN}"])
def test_text_that_cannot_be_sent_is_a_problem_of_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "odibi.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"odibi\.yaml:1:\d+: .*no character"):
        load_project(tmp_path, {"BROKEN": "\udcff"})


@pytest.mark.parametrize("name", ["t", "w"])
def test_a_node_with_an_empty_list_of_inputs_is_refused_as_one_without(tmp_path: Path, name: str) -> None:
    text = YAML.replace(
        b"name: %s, inputs: [%s]" % (name.encode(), b"r" if name == "t" else b"t"),
        b"name: %s, inputs: []" % name.encode(),
    )
    (tmp_path / "odibi.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=r"needs inputs|exactly one input"):
        load_project(tmp_path, {})


@pytest.mark.parametrize("data", [b"[" * 60_000, b"\xff", b'{"endpoint": 5}', b"9" * 60_000, b""])
def test_a_hostile_connection_file_is_a_named_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "connection.json").write_bytes(data)
    with pytest.raises(UnreachableError, match=r"connection\.json"):
        read_connection(tmp_path / "connection.json")


def test_a_payload_with_a_fitting_seal_and_text_that_is_no_text_is_a_store_error() -> None:
    data = b"\x81\xa1r\xa2\xff\xfe"
    with pytest.raises(StoreError, match="a plan"):
        unseal(data + xxhash.xxh3_64_digest(data), PlanDecoder, "a plan")


def test_a_parent_that_talks_nonsense_counts_as_gone() -> None:
    ours, theirs = link.pair()
    with ours, theirs:
        for nonsense in (b"\xc1", b"\x81\xa4type\xa2\xff\xff", b"\x91" * 5000):
            theirs.send(nonsense)
            assert list(link.hear(ours)) == [None]


@pytest.mark.parametrize("content", [b"[" * 4096, b"5", b"\xff", b"{}", None])
def test_a_hostile_owner_file_is_a_conflict(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        os.mkfifo(tmp_path / OWNER_FILE)
    else:
        (tmp_path / OWNER_FILE).write_bytes(content)
    with pytest.raises(ConflictError, match="not an owner file"):
        folder_owner(tmp_path)


def test_an_offer_of_very_many_files_is_cut_so_that_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers_module, "OFFER_BYTES", 300)
    for number in range(10):
        (tmp_path / f"{number}-{'x' * 50}.csv").write_text("a")
    system = System(source_spec(tmp_path, settle=0.0))
    try:
        system.until(lambda: any(offer.positions for offer in system.offers), "an offer")
    finally:
        system.close()
    assert {len(offer.positions) for offer in system.offers} <= {0, 1, 2}


def test_one_name_goes_however_long_it_is() -> None:
    assert offers_module._fitting(["x" * 10**7, "y"]) == ["x" * 10**7]


@pytest.mark.parametrize("spoilt", [b"column_x", b"a text in it"])
def test_a_parquet_file_with_text_that_is_no_text_is_malformed(spoilt: bytes) -> None:
    sink = io.BytesIO()
    table = pa.table({"column_x": ["a text in it"] * 3})
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=False, store_schema=False)
    assert spoilt in sink.getvalue()
    with pytest.raises(Malformed, match=r"not a readable parquet|row 1: string cannot be kept.*read\.ignore: \[col"):
        parquet.parse(sink.getvalue().replace(spoilt, b"\xff" * len(spoilt)), {}, Wanted())


# --- patterns -----------------------------------------------------------------------------------------------------


def test_a_pattern_of_many_stars_on_a_deep_path_is_answered() -> None:
    deep = "/".join(["a"] * 2000)
    assert not Pattern("**/a/" * 20 + "b").matches(deep)
    assert Pattern("**/a/" * 20 + "*").matches(deep)


def slow_match(pattern: list[str], parts: list[str]) -> bool:
    """What ``**`` means, said plainly."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        least = 1 if len(pattern) == 1 else 0
        return any(
            slow_match(pattern[1:] or ["*"] * (len(parts) - n), parts[n:]) for n in range(len(parts) + 1 - least)
        )
    return bool(parts) and pattern[0] in ("*", parts[0]) and slow_match(pattern[1:], parts[1:])


SEGMENTS = st.lists(st.sampled_from(["**", "*", "a", "b"]), min_size=1, max_size=5)


@given(SEGMENTS, st.lists(st.sampled_from("ab"), min_size=1, max_size=5))
def test_double_stars_match_what_they_mean(pattern: list[str], parts: list[str]) -> None:
    assert Pattern("/".join(pattern)).matches("/".join(parts)) == slow_match(pattern, parts)


# --- what people see ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\x1b]0;pwned\x07", "\\x1b]0;pwned\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08", "a\\rb\\x08"),
        ("cod\u202exe.vsc", "cod\\u202exe.vsc"),
        ("\udcff.csv", "\\udcff.csv"),
        ("Zürich → 東京 👩‍💻\u00a0x", "Zürich → 東京 👩‍💻\u00a0x"),
        ("line\n\tline", "line\n\tline"),
    ],
)
def test_a_terminal_obeys_no_name(said: str, shown: str) -> None:
    assert visible(said) == shown


def test_nothing_a_table_or_a_line_of_a_command_holds_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\u202ex\x9b"
    output.show(
        Text(evil, style="red"), output.fields([("f", evil)]), output.table([{"a": evil}], [output.Column("A", "a")])
    )
    errors.message(evil)
    out, err = capsys.readouterr()
    assert evil[0] not in out + err
    assert "\u202e" not in out + err
    assert out.count("\\x1b[2J\\u202ex\\x9b") == 3


@pytest.mark.parametrize("call", ["\udcff".encode, lambda: msgspec.msgpack.encode(2**70)])
def test_what_cannot_be_sent_is_a_line_and_not_a_traceback(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.guard(call) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_log_line_neither_obeys_nor_forges(capsys: pytest.CaptureFixture[str]) -> None:
    copies: list[bytes] = []
    log.log(
        "error",
        "x",
        "file \x1b[31m\udcff",
        {"file": "\x1b[0m\n2026-01-01T00:00:00.000Z info x all is well"},
        copies.append,
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    assert copies[0].decode() == line + "\n"
