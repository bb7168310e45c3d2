"""The shop's book-keeper sees what is lost, doubled, in two places or made of something else; and a life of it."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.shop.book import Books, Iteration, Keeper
from tests.shop.goods import Goods, Settings
from tests.shop.life import Life

FIRST = "sales/f0001.csv"


class Shop:
    """``sales`` with one file, which iteration 1 has committed, and what of it was published."""

    def __init__(self, folder: Path) -> None:
        self.goods = Goods(folder, random.Random(1))
        self.goods.tables["sales"] = False
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


def test_given_what_must_be_there_then_nothing_differs(shop: Shop) -> None:
    assert shop.differences() == []


def test_given_rows_twice_lost_or_of_another_reference_then_each_is_told(shop: Shop) -> None:
    rows = shop.goods.newest("sales", FIRST).rows
    shop.publish(2, rows[:1])
    (said,) = shop.differences()
    assert said.startswith("sales lake has 1 rows too many")
    (shop.goods.folder / "data/lake/sales/part-1.parquet").unlink()
    shop.publish(2, rows, reference=2)
    lacks, too_many = shop.differences()
    assert lacks.startswith(f"sales lake lacks {len(rows)} rows")
    assert too_many.startswith(f"sales lake has {len(rows)} rows too many")


def test_given_a_file_in_two_places_or_in_none_then_it_is_told(shop: Shop) -> None:
    shop.books.letters[7] = {"state": "open", "held": {FIRST}}
    assert shop.differences() == [f"sales: {FIRST} is in committed 1, open letter 7"]
    shop.books.letters.clear()
    shop.books.iterations[0] = shop.iteration(1, "cancelled")
    assert f"sales: {FIRST} is in no place at the end" in shop.differences()


def test_given_a_letter_without_files_then_it_is_told(shop: Shop) -> None:
    shop.books.letters[7] = {"state": "open", "held": set()}
    assert shop.differences() == ["sales: letter 7 is open and holds no file"]


def test_given_a_reference_of_another_version_then_it_is_told(shop: Shop) -> None:
    shop.keeper.versions["sales", 1] = Settings(pattern="tariff-*.csv")
    assert "sales 1 of version 1 reads prices-a.csv, not tariff-*.csv" in shop.differences()


@pytest.mark.soak
@pytest.mark.process
@pytest.mark.xdist_group("systems")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [205])
def test_a_life_that_ended_in_a_difference_once_does_not_again(tmp_path: Path, seed: int) -> None:
    life = Life(tmp_path / "project", seed)
    try:
        life.live()
    except AssertionError as error:
        error.add_note("\n".join([*life.story, life.state()]))
        raise
    finally:
        life.client.close()
        life.system.close()
