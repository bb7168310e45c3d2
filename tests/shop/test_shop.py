"""The shop's book-keeper sees what is lost, doubled, in two places or made of something else; and a life of it."""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.shop.book import Books, Iteration, Keeper
from tests.shop.goods import Goods
from tests.shop.life import Life
from tests.shop.project import Form, Polled, Settings
from tests.shop.rates import Tick

FIRST = "sales/f0001.csv"


class Shop:
    """``sales`` with one file, which iteration 1 has committed, and what of it was published."""

    def __init__(self, folder: Path) -> None:
        self.goods = Goods(folder, random.Random(1), Form(("sales",), frozenset(), "file"))
        self.goods.deliver("sales")
        self.keeper = Keeper(self.goods)
        self.keeper.versions["sales", 1] = Settings()
        self.books = Books()
        self.books.iterations.append(self.iteration(1))
        self.publish(1, self.goods.newest("sales", FIRST).rows)

    def iteration(self, number: int, state: str = "committed") -> Iteration:
        (ctime,) = self.goods.writings["sales", FIRST]
        digest = next(iter(self.goods.references))
        return Iteration(number, "live", state, 1, "", frozenset(), {FIRST: ctime}, [("prices-a.csv", digest)])

    def publish(self, number: int, rows: list[tuple[int, str, int]], reference: int = 1) -> None:
        table = pa.table(
            {
                **dict(zip(("id", "shop", "amount"), map(list, zip(*rows, strict=True)), strict=True)),
                "tag": [0] * len(rows),
                "reference": [reference] * len(rows),
                "rate": pa.array([None] * len(rows), pa.int64()),
            }
        )
        folder = self.goods.folder / "data/lake/sales"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"part-{number}.parquet")

    def differences(self) -> list[str]:
        return self.keeper.differences("sales", self.books, ended=True)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "project")


def test_given_rows_twice_lost_or_of_another_reference_then_each_is_told(shop: Shop) -> None:
    assert shop.differences() == []
    rows = shop.goods.newest("sales", FIRST).rows
    shop.publish(2, rows[:1])
    (said,) = shop.differences()
    assert said.startswith("sales lake has 1 rows too many")
    (shop.goods.folder / "data/lake/sales/part-1.parquet").unlink()
    shop.publish(2, rows, reference=2)
    lacks, too_many = shop.differences()
    assert lacks.startswith(f"sales lake lacks {len(rows)} rows")
    assert too_many.startswith(f"sales lake has {len(rows)} rows too many")


def test_given_a_file_in_two_places_or_none_a_void_letter_or_another_reference_then_it_is_told(shop: Shop) -> None:
    shop.books.letters[7] = {"state": "open", "held": {FIRST}}
    assert shop.differences() == [f"sales: {FIRST} is in committed 1, open letter 7"]
    shop.books.letters.clear()
    shop.books.iterations[0] = shop.iteration(1, "cancelled")
    assert f"sales: {FIRST} is in no place at the end" in shop.differences()
    shop.books.letters[7] = {"state": "open", "held": set()}
    assert "sales: letter 7 is open and holds no file" in shop.differences()
    shop.books.iterations[0] = shop.iteration(1)
    shop.keeper.versions["sales", 1] = Settings(pattern="tariff-*.csv")
    assert "sales 1 of version 1 reads prices-a.csv, not tariff-*.csv" in shop.differences()


class Rates:
    """``rates`` polls a file; iteration 1 has read ticks 1 and 2 of its first writing, and has published them."""

    def __init__(self, folder: Path) -> None:
        goods = Goods(folder, random.Random(1), Form(("rates",), frozenset(), "file"))
        self.keeper = Keeper(goods)
        self.keeper.versions["rates", 1] = Settings()
        self.books = Books()
        begun = goods.board.writings[1][0]
        self.books.ticks = {number: Tick(begun + number, begun + number) for number in (1, 2)}
        self.books.iterations.append(
            Iteration(1, "live", "committed", 1, "", frozenset(), {"tick 1": 0, "tick 2": 0}, [])
        )
        self.board, self.lake = goods.board, folder / "data/lake/rates"
        self.lake.mkdir(parents=True)

    def differences(self, *found: int) -> list[str]:
        """What differs when each tick has found this writing, of one row."""
        rows = [{"writing": one, "n": 0, "whole": 1, "tag": 0} for one in found]
        pq.write_table(pa.Table.from_pylist(rows), self.lake / "part-0000000001-lake.parquet")
        return self.keeper.differences("rates", self.books, ended=False)


@pytest.fixture
def rates(tmp_path: Path) -> Rates:
    return Rates(tmp_path / "project")


def test_given_a_tick_that_is_lost_twice_or_in_two_places_then_it_is_told(rates: Rates) -> None:
    assert rates.differences(1, 1) == []
    assert "tick 2 is [], and no whole writing" in rates.differences(1)[0]
    assert "has 1 rows too many" in rates.differences(1, 1, 1)[0]
    rates.books.letters[7] = {"state": "open", "held": {"tick 2"}}
    assert rates.differences(1, 1) == ["rates: tick 2 is in committed 1, open letter 7"]


def test_given_a_tick_that_has_found_what_did_not_stand_there_then_it_is_told(rates: Rates) -> None:
    rates.board.replace()
    rates.board.writings[2][0] = rates.board.writings[1][0]
    rates.board.writings[1][1] = rates.books.ticks[2].due - 0.5
    (gone,) = rates.differences(1, 1)
    assert re.match(r"tick 2 \(.*\) has found writing 1, which stood there from", gone)
    assert rates.differences(1, 2) == ["tick 2 has found writing 1, and is said to have found 2"]


def test_given_rows_of_a_table_that_should_be_gone_or_there_then_each_is_told(
    tmp_path: Path,
) -> None:
    stock = Goods(tmp_path / "project", random.Random(1), Form(("returns",), frozenset(), "file")).stock
    stock.put([1, 2])
    stock.renew()
    newest = {1: 9, 2: 9}
    assert [*stock.differences({}, newest)] == [*stock.differences({2: 1}, {})] == []
    assert [*stock.differences(newest, {})] == ["stock has 2 rows whose deletion was published, such as [1, 2]"]
    with closing(sqlite3.connect(tmp_path / "project/data/mart.db")) as mart, mart:
        mart.execute("delete from stock where id = 1")
        mart.execute("update stock set amount = -1")
    lacks, other = stock.differences({2: 1}, {})
    assert lacks == "stock lacks 1 rows that nobody has deleted, such as [1]"
    assert other.startswith("stock has 1 rows that nobody has put there")


def test_given_a_value_that_a_new_column_has_lost_then_it_is_told(tmp_path: Path) -> None:
    goods = Goods(tmp_path / "project", random.Random(1), Form(("wares",), frozenset(), "file"))
    keeper, books, lake = Keeper(goods), Books(), goods.folder / "data/lake/wares"
    keeper.versions["wares", 1] = Settings()
    lake.mkdir(parents=True)
    while len(goods.newest("wares", file := goods.deliver("wares")).rows[0]) == 2:
        pass
    (ctime,) = goods.writings["wares", file]
    books.iterations.append(Iteration(1, "live", "committed", 1, "", frozenset(), {file: ctime}, []))
    rows = [{**dict(row), "tag": 0} for row in goods.newest("wares", file).rows]
    pq.write_table(pa.Table.from_pylist(rows), lake / "part-1.parquet")
    assert not [said for said in keeper.differences("wares", books, ended=False) if "wares lake" in said]
    del rows[0]["c1"]
    pq.write_table(pa.Table.from_pylist(rows), lake / "part-1.parquet")
    lacks, too_many = keeper.differences("wares", books, ended=False)
    assert lacks.startswith("wares lake lacks 1 rows")
    assert too_many.startswith("wares lake has 1 rows too many")


@pytest.mark.soak
@pytest.mark.process
@pytest.mark.xdist_group("systems")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("polled", ["file", "query", "function"])
def test_a_life_of_what_is_polled_deleted_and_evolves_has_no_difference(tmp_path: Path, polled: Polled) -> None:
    life = Life(tmp_path / "project", 1, Form(("rates", "returns", "wares"), frozenset({"wares"}), polled))
    try:
        life.live()
    except AssertionError as error:
        error.add_note("\n".join([*life.story, life.state()]))
        raise
    finally:
        life.client.close()
        life.system.close()
