"""``odibictl node show``: what a node gave, as long as it is kept, and never what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from odibi_actors.cli.__main__ import odibictl
from odibi_actors.cli.outputs import SUFFIXES, save
from odibi_actors.config.model import ProjectSpec
from odibi_actors.errors import OdibiError
from odibi_actors.local import LocalSystem, run_pipeline
from odibi_actors.local.at_rest import AtRest
from odibi_actors.messages import STORE, Reply
from odibi_actors.nodes import outputs
from odibi_actors.runtime import wire
from tests.local.test_run import add, parts, project

__all__ = ["project"]


@pytest.fixture
def ran(project: ProjectSpec) -> ProjectSpec:
    """A project that has run once."""
    run_pipeline(project, "sales")
    return project


def call(project: ProjectSpec, *args: str) -> Result:
    return CliRunner().invoke(odibictl, ["node", "show", "sales", *args, "--project", project.root])


def asked(project: ProjectSpec, node: str, number: int = 1) -> dict[str, Any]:
    with AtRest(Path(project.data_dir)) as store:
        params = {"pipeline": "sales", "iteration": number, "node": node}
        found: dict[str, Any] = store.answer(STORE, "node.show", params)
        return found


def names(project: ProjectSpec) -> list[str]:
    return [node.name for node in project.pipelines[0].nodes]


def test_given_a_committed_iteration_then_each_node_shows_its_rows_and_types(ran: ProjectSpec) -> None:
    source = names(ran)[0]
    result = json.loads(call(ran, "1", source, "--head", "2", "-o", "json").stdout)
    assert result["schema"] == 1
    assert (result["state"], result["kept"], result["iteration_state"]) == ("acked", "yes", "committed")
    assert len(result["head"]) == 2
    assert [column["name"] for column in result["columns"]] == list(result["head"][0])
    assert result["output"]["where"] == "inline"
    assert "data" not in result["output"]
    assert f"first 2 of {result['rows_out']} rows" in call(ran, "1", source, "--head", "2").stdout


def test_given_a_sink_then_its_published_part_is_shown_and_a_table_is_named(ran: ProjectSpec, tmp_path: Path) -> None:
    result = json.loads(call(ran, "1", "lake_orders", "--head", "100", "-o", "json").stdout)
    assert result["output"]["where"] == "published"
    part = pq.read_table(result["output"]["path"])
    assert len(result["head"]) == part.num_rows == result["output"]["rows"]
    table = next(name for name in names(ran) if name.startswith("mart"))
    for asked_for in (("--head", "1"), ("--to", str(tmp_path / "rows.csv"))):
        refused = call(ran, "1", table, *asked_for)
        assert refused.exit_code == 3
        assert "published its rows to table" in refused.stderr
    assert not (tmp_path / "rows.csv").exists()
    assert call(ran, "1", table).exit_code == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_given_a_file_then_all_rows_are_written_by_its_suffix_and_none_is_replaced(
    ran: ProjectSpec, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"out{suffix}"
    source = names(ran)[0]
    done = call(ran, "1", source, "--to", str(file))
    assert done.exit_code == 0, done.stderr
    wanted = outputs.read(Path(ran.data_dir), asked(ran, source))
    assert f"{wanted.num_rows} rows written to" in done.stderr
    if suffix == ".parquet":
        assert pq.read_table(file).equals(wanted)
    elif suffix == ".csv":
        assert pyarrow.csv.read_csv(file).num_rows == wanted.num_rows
    elif suffix == ".arrow":
        assert pa.ipc.open_file(str(file)).read_all().equals(wanted)
    else:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert [line["order_id"] for line in lines] == wanted.column("order_id").to_pylist()
    before = file.read_bytes()
    assert call(ran, "1", source, "--to", str(file)).exit_code == 4
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".out")) == []


def test_given_wrong_words_then_each_has_its_exit_code(ran: ProjectSpec, tmp_path: Path) -> None:
    assert call(ran, "1", names(ran)[0], "--to", str(tmp_path / "x.xlsx")).exit_code == 2
    missing = call(ran, "1", "lake_order")
    assert (missing.exit_code, "did you mean lake_orders?" in missing.stderr) == (3, True)
    assert call(ran, "9", "lake_orders").exit_code == 3


def test_given_more_than_keep_last_then_rows_are_no_longer_kept_and_the_rest_is_shown(project: ProjectSpec) -> None:
    keep = project.pipelines[0].keep_last
    for number in range(1, keep + 2):
        add(project, f"orders-{number}.csv", f"{number},2024-01-05,fr,1,2")
        run_pipeline(project, "sales")
    source = names(project)[0]
    gone = call(project, "1", source, "--head", "1")
    assert gone.exit_code == 3
    assert "no longer kept since the iteration was committed" in gone.stderr
    assert "checkpoint.keep_last" in gone.stderr
    shown = json.loads(call(project, "1", source, "-o", "json").stdout)
    assert shown["kept"].startswith("no: ")
    assert shown["state"] == "acked"
    assert call(project, "2", source, "--head", "1").exit_code == 0
    assert call(project, "1", "lake_orders", "--head", "1").exit_code == 0


def test_given_damaged_bytes_then_they_are_not_shown(ran: ProjectSpec) -> None:
    shown = asked(ran, names(ran)[0])
    data = bytearray(shown["output"]["data"])
    data[len(data) // 2] ^= 1
    with pytest.raises(OdibiError, match="does not match its digest"):
        outputs.read(Path(ran.data_dir), {**shown, "output": {**shown["output"], "data": bytes(data)}})
    (part,) = (Path(ran.root) / "data/lake/orders" / name for name in parts(ran))
    content = bytearray(part.read_bytes())
    content[20] ^= 1
    part.write_bytes(content)
    refused = call(ran, "1", "lake_orders", "--head", "1")
    assert (refused.exit_code, "does not match its digest" in refused.stderr) == (1, True)
    part.unlink()
    assert call(ran, "1", "lake_orders", "--head", "1").exit_code == 3


def test_given_a_large_output_then_it_is_read_from_the_spool_until_it_goes(ran: ProjectSpec) -> None:

    from odibi_actors.batches import ipc
    from odibi_actors.batches.files import digest_file

    table = pa.table({"x": list(range(5000))})
    path = Path(ran.data_dir) / "spool" / "sales" / "1" / "big"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ipc.encode(table))
    digest, size = digest_file(path)
    output = {"where": "spool", "rows": 5000, "size": size, "digest": digest, "path": "sales/1/big", "host": ""}
    shown = {**asked(ran, names(ran)[0]), "output": {**output, "data": None}}
    assert outputs.read(Path(ran.data_dir), shown).equals(table)
    path.unlink()
    with pytest.raises(OdibiError, match="no longer kept: its iteration is committed"):
        outputs.read(Path(ran.data_dir), shown)


def test_given_outputs_that_are_kept_or_gone_then_the_list_says_what_each_nodes_page_says(ran: ProjectSpec) -> None:
    add(ran, "orders-8.csv", *(f"{n},2024-01-05,fr,1,2" for n in range(1000, 4000)))
    run_pipeline(ran, "sales")
    kept = {}
    for number in (1, 2):
        args = ["node", "list", "sales", str(number), "--project", ran.root]
        rows = json.loads(CliRunner().invoke(odibictl, [*args, "-o", "json"]).stdout)["items"]
        for row in rows:
            page = json.loads(call(ran, str(number), row["node"], "-o", "json").stdout)
            assert row["kept"] in (None, page["kept"] == "yes"), row
            kept[number, row["node"]] = row["kept"]
        assert ("not kept" in CliRunner().invoke(odibictl, args).stdout) == any(row["kept"] is False for row in rows)
    assert (kept[1, names(ran)[0]], kept[2, names(ran)[0]]) == (True, False)


def test_given_a_running_system_then_the_bytes_travel_as_they_are(ran: ProjectSpec) -> None:
    with LocalSystem(ran) as system:
        params = {"pipeline": "sales", "iteration": 1, "node": names(ran)[0]}
        live = system.request("node.show", params, to=STORE)
    assert live == asked(ran, names(ran)[0])
    (body,) = wire.bodies(Reply("1", 0, live))
    decoded = wire.decode_body(body)
    assert isinstance(decoded, Reply)
    assert decoded.result["output"]["data"] == live["output"]["data"]


@pytest.mark.parametrize(
    ("value", "said"),
    [(float("nan"), "row 1, column v: JSON has no nan"), (b"x", "row 1, column v: JSON has no bytes")],
)
def test_given_a_value_that_json_lacks_then_it_is_refused_by_name(tmp_path: Path, value: object, said: str) -> None:

    with pytest.raises(OdibiError, match=said):
        save(pa.table({"v": [value]}), tmp_path / "x.json")
    assert list(tmp_path.iterdir()) == []


def test_given_a_committed_sink_then_each_view_says_that_it_is_published(ran: ProjectSpec) -> None:
    for args in (["node", "list"], ["iteration", "show"]):
        shown = CliRunner().invoke(odibictl, [*args, "sales", "1", "-o", "json", "--project", ran.root])
        found = json.loads(shown.stdout)
        rows = found["items"] if "items" in found else found["nodes"]
        assert {row["node"]: row["where"] for row in rows}["lake_orders"] == "published"
    told = call(ran, "1", "lake_orders").stdout
    assert "staged" not in told
    assert "iteration state  committed" in told


def test_given_an_output_that_is_not_kept_any_more_then_the_command_that_shows_it_is_named_and_works(
    ran: ProjectSpec,
) -> None:
    node = next(node for node in ran.pipelines[0].nodes if node.transform is not None and node.transform.sql)
    with AtRest(Path(ran.data_dir)) as store:
        row = store.answer(STORE, "node.show", {"pipeline": "sales", "iteration": 1, "node": node.name})
    row["output"] |= {"where": "spool", "path": "sales/1/none.arrow"}
    said = outputs.there(Path(ran.data_dir), row)
    assert said is not None
    assert said.startswith("no: ")
    with pytest.raises(OdibiError, match="no longer kept") as refused:
        outputs.read(Path(ran.data_dir), row)
    assert str(refused.value) in said
    command = said.split("`")[1].split()
    assert command[:2] == ["odibictl", "try"]
    tried = CliRunner().invoke(odibictl, [*command[1:], "--project", ran.root])
    assert tried.exit_code == 0
    assert f"{node.name}: first" in tried.stdout
