"""What operators, authors and the world do to the shop. Each verb says what it did, "" when there was nothing to do."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from odibi_actors.errors import ConflictError
from tests.shop.project import LANDING, REFERRING, TABLES, Settings, plain, section

if TYPE_CHECKING:
    from tests.shop.life import Life

VICTIMS = ("broker", "checkpoint", "source", "scheduler", "pool", "worker", "template", "launcher")
CLOSED = "create trigger closed before insert on {} begin select raise(abort, 'the till is closed'); end"


PATIENCE = 60.0
"""Seconds within which all must be put right at the end, or work must come to rest: a verdict, not a promise."""


class DifferenceError(AssertionError):
    """What is there is not what must be there."""


# --- data -------------------------------------------------------------------------------------------------------------


def deliver(life: Life, pipeline: str) -> str:
    """A few files arrive, bad ones among them."""
    found = []
    for _ in range(life.rng.choice([1, 2, 4, 8])):
        bad = life.rng.choices(["", "refused", "malformed"], [5, 1, 1])[0]
        found.append(life.goods.deliver(pipeline, bad) + (f" ({bad})" if bad else ""))
    return ", ".join(found)


def fix(life: Life, pipeline: str) -> str:
    """A bad file is written again."""
    bad = life.goods.bad(pipeline)
    return life.goods.rewrite(pipeline, life.rng.choice(bad)) if bad else ""


def rewrite(life: Life, pipeline: str) -> str:
    """Any file is written again, whether it was read or not."""
    return life.goods.rewrite(pipeline, life.rng.choice(life.goods.files(pipeline)))


def refer(life: Life, pipeline: str) -> str:
    """A reference is replaced."""
    if pipeline not in REFERRING:
        return ""
    name = life.rng.choice(["prices-a.csv", "tariff-a.csv"])
    life.goods.refer(name)
    return name


def renew(life: Life, pipeline: str) -> str:
    """Rows of which others may be deleted get a newer version."""
    return life.goods.stock.renew() if pipeline == "returns" else ""


# --- operators --------------------------------------------------------------------------------------------------------


def pause(life: Life, pipeline: str) -> str:
    """`pipeline pause`."""
    return str(life.client.pause(pipeline))


def resume(life: Life, pipeline: str) -> str:
    """`pipeline resume`."""
    return str(life.client.resume(pipeline))


def cancel(life: Life, pipeline: str) -> str:
    """`iteration cancel` of one of the newest."""
    number = _one_of_the_newest(life, pipeline)
    return f"{number}: {life.client.cancel(pipeline, number)}" if number else ""


def retry(life: Life, pipeline: str) -> str:
    """`iteration retry` of what is held."""
    rows = life.client.iterations(pipeline, limit=1000)["items"]
    held = [row["iteration"] for row in rows if row["state"] in ("failed", "blocked")]
    return f"{held[-1]}: {life.client.retry(pipeline, held[-1])}" if held else ""


def replay(life: Life, pipeline: str) -> str:
    """`deadletter replay`, at times after its files were fixed."""
    letter = _letter(life, pipeline)
    if not letter:
        return ""
    if pipeline in LANDING and life.rng.random() < 0.5:
        for position in life.client.dead_letter(letter)["positions"].get("rows", ()):
            if life.goods.newest(pipeline, position["identity"]).bad:
                life.goods.rewrite(pipeline, position["identity"])
    return f"{letter}: {life.replay(pipeline, letter)}"


def discard(life: Life, pipeline: str) -> str:
    """`deadletter discard`."""
    letter = _letter(life, pipeline)
    return f"{letter}: {life.discard(pipeline, letter)}" if letter else ""


def rewind(life: Life, pipeline: str) -> str:
    """`pipeline drain`, `pipeline rewind` to one of the newest or to the beginning, `pipeline resume`."""
    to = life.rng.choice([0, max(0, _one_of_the_newest(life, pipeline) - life.rng.randint(1, 2))])
    state = life.client.drain(pipeline, timeout=PATIENCE)["state"]
    life.tell(f"drain {pipeline}: {state}")
    try:
        return f"to {to}: {life.client.rewind(pipeline, to, timeout=PATIENCE)}"
    finally:
        if life.rng.random() < 0.8:
            life.client.resume(pipeline)


def backfill(life: Life, pipeline: str) -> str:
    """`pipeline backfill` of some files."""
    if pipeline not in (*REFERRING, "returns", "wares"):
        return ""
    pattern = life.rng.choice(["*", "f*[02468].csv", "f000?.csv"])
    rate = life.next_rate()
    begun = life.client.backfill(pipeline, {"": pattern}, concurrency=2, params={"rate": rate})
    life.keeper.rates[begun["run"]] = rate
    return f"{pattern}: {begun}"


def backfill_cancel(life: Life, pipeline: str) -> str:
    """`backfill cancel` of one that goes on."""
    rows = life.client.backfills(pipeline)["items"]
    return str(life.client.cancel_backfill(pipeline, rows[0]["lane"])) if rows else ""


def trigger(life: Life, pipeline: str) -> str:
    """`pipeline trigger`, with a parameter."""
    return life.trigger() if pipeline == "report" else ""


def apply(life: Life, pipeline: str) -> str:
    """Something of the project changes, or several things: `apply`, or `down` and `up`."""
    changes = _change(life, pipeline)
    life.goods.configure()
    if life.rng.random() < 0.2:
        return f"{changes}, {restart(life, pipeline)}"
    code, said = life.ctl("apply")
    if code:
        raise DifferenceError(f"apply: exit {code}: {said}")
    life.note_versions()
    return f"{changes}: {said.strip()}"


def deploy(life: Life, pipeline: str) -> str:
    """The same, of a pipeline that is built in code: `Pipeline.deploy`. All else in the project file stays as it is."""
    former, path = life.goods.settings[pipeline], life.goods.folder / "odibi.yaml"
    before = path.read_text()
    changes = _change(life, pipeline)
    wanted = section(life.goods.form, pipeline, life.goods.settings[pipeline])
    done = life.system.python("tests.shop.coded", given=json.dumps(wanted), timeout=2 * PATIENCE)
    if done.returncode:
        raise DifferenceError(f"deploy {pipeline} of {wanted}: {done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout)
    if "refused" in said:
        life.goods.settings[pipeline] = former
        if path.read_text() != before:
            raise DifferenceError(f"deploy {pipeline} was refused ({said['refused']}), and has written {path}")
        raise ConflictError(said["refused"])
    _compare_files(life, before)
    if said["applied"] is None:
        life.ctl("apply")  # no broker was there to be told
    life.note_versions()
    return f"{changes}: {said}"


def _compare_files(life: Life, before: str) -> None:
    """What the project file says is what is wanted, and its remarks are all there."""
    after = (life.goods.folder / "odibi.yaml").read_text()
    if plain(after) != plain(life.goods.text()):
        raise DifferenceError(f"deploy has written\n{after}\nand was to write what\n{life.goods.text()}\nsays")
    remarks = [[line for line in text.splitlines() if "#" in line] for text in (before, after)]
    if remarks[0] != remarks[1]:
        raise DifferenceError(f"the remarks were {remarks[0]}, and after deploy are {remarks[1]}")


def _change(life: Life, pipeline: str) -> dict[str, Any]:
    """Settings of a pipeline change; what has changed."""
    changes: dict[str, Any] = {}
    settings, form, rng = life.goods.settings[pipeline], life.goods.form, life.rng
    if rng.random() < 0.5:
        changes["tag"] = settings.tag + 1
    if rng.random() < 0.3:
        changes["files"] = rng.choice([1, 2, 4])
    if rng.random() < 0.3:
        changes["slow"] = rng.choice([0.0, 0.1, 0.4])
    if rng.random() < 0.3:
        changes["in_flight"] = rng.choice([1, 2, 4])
    if rng.random() < 0.3:
        changes["settle"] = rng.choice(["20ms", "30ms", "40ms"])
    if rng.random() < 0.3:
        changes["every"] = rng.choice(form.intervals())
    if pipeline in REFERRING and rng.random() < 0.4:
        changes["pattern"] = rng.choice(["prices-*.csv", "tariff-*.csv"])
    fresh = msgspec.structs.replace(settings, **changes) if changes else Settings(every=settings.every)
    life.goods.settings[pipeline] = fresh
    return changes


def scale(life: Life, pipeline: str) -> str:
    """`worker scale`."""
    return str(life.client.scale(life.rng.choice([1, 2, 3])))


def close_till(life: Life, pipeline: str) -> str:
    """A target refuses rows for a while."""
    if pipeline not in TABLES or pipeline not in life.goods.form.tables:
        return ""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(life.goods.folder / "data/mart.db")) as mart:
        mart.execute(CLOSED.format(pipeline))
        return "closed"
    return ""


def open_till(life: Life, pipeline: str = "") -> str:
    """It takes them again."""
    with closing(sqlite3.connect(life.goods.folder / "data/mart.db", timeout=30.0)) as mart, mart:
        closed = mart.execute("select 1 from sqlite_master where name = 'closed'").fetchone()
        mart.execute("drop trigger if exists closed")
    return "open" if closed else ""


def abandon(life: Life, pipeline: str) -> str:
    """`iteration abandon` of a blocked sink."""
    rows = life.client.iterations(pipeline, limit=1000)["items"]
    blocked = [row["iteration"] for row in rows if row["state"] == "blocked"]
    return f"{blocked[-1]}: {life.client.abandon(pipeline, blocked[-1], 'mart')}" if blocked else ""


# --- the machine ------------------------------------------------------------------------------------------------------


def restart(life: Life, pipeline: str) -> str:
    """`down`, and `up`."""
    life.client.close()
    life.system.stop()
    life.up()
    return "down, up"


def kill(life: Life, pipeline: str) -> str:
    """SIGKILL for one process, or for all."""
    victim = life.rng.choice(VICTIMS)
    life.system.kill(victim, rng=life.rng)
    if victim == "launcher":
        if not life.system.extinct():
            raise DifferenceError(f"left running: {life.system.processes.living()}")
        life.up()
    return victim


# --- what there is ----------------------------------------------------------------------------------------------------


def _one_of_the_newest(life: Life, pipeline: str) -> int:
    rows = life.client.iterations(pipeline, limit=3)["items"]
    return int(life.rng.choice(rows)["iteration"]) if rows else 0


def _letter(life: Life, pipeline: str) -> int:
    letters = [row["id"] for row in life.client.dead_letters(pipeline)["items"] if row["state"] == "open"]
    return int(life.rng.choice(letters)) if letters else 0


Verb = Callable[["Life", str], str]
VERBS: tuple[tuple[int, Verb], ...] = (
    (6, deliver),
    (3, fix),
    (1, rewrite),
    (3, refer),
    (2, renew),
    (2, pause),
    (2, resume),
    (4, cancel),
    (3, retry),
    (5, replay),
    (1, discard),
    (3, rewind),
    (3, backfill),
    (1, backfill_cancel),
    (5, trigger),
    (4, apply),
    (3, deploy),
    (1, scale),
    (1, close_till),
    (2, open_till),
    (1, abandon),
    (1, restart),
)
"""(weight, what it does)."""
