"""Annotations of node functions mean what they mean in Python, or are refused by name: nobody gets another library's
table than the one that was asked for."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.transform import Context, run_function, run_stateful

TABLE = pa.table({"carrier": ["UA", "AA"], "delay": [61, None]})
CONTEXT = Context("delays", 7, "clean", 2, None, logging.getLogger("t"))

HEADER = """
from __future__ import annotations
import functools, typing, typing as t
from typing import *
from typing import TYPE_CHECKING
import pandas, pandas as pd, pyarrow, pyarrow as pa, polars
from pyarrow import Table
import polars as pl
T = TypeVar("T", bound=pa.Table)
C = TypeVar("C", pl.DataFrame, pa.Table)
N = NewType("N", pl.DataFrame)
Rows = Optional[pa.Table]
class Mine(pd.DataFrame): ...
if t.TYPE_CHECKING:
    import pyarrow as arrow
    import polars.dataframe
    from polars import DataFrame as Lake
    from pyarrow import Table as Rock
    from numpy import ndarray as Grid
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "nodes").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "nodes"
    for name in [name for name in sys.modules if name.split(".")[0] == "nodes"]:
        del sys.modules[name]


def given(project: Path, body: str, header: str = HEADER) -> str:
    """The library of the table that ``nodes.m:fn`` was given, or why it was given none."""
    (project / "m.py").write_text(f"{header}\nSEEN = []\ndef see(x):\n    SEEN.append(x)\n    return x\n{body}\n")
    sys.modules.pop("nodes.m", None)
    try:
        run_function("nodes.m:fn", {}, {"rows": TABLE}, CONTEXT)
    except Failed as error:
        return f"{error.failure.kind}: {error.failure.message}"
    (seen,) = sys.modules["nodes.m"].SEEN
    return type(seen[0] if isinstance(seen, tuple) else seen).__module__.split(".")[0]


@pytest.mark.parametrize("quoted", [False, True], ids=["future", "quoted"])
@pytest.mark.parametrize(
    ("annotation", "library"),
    [
        ("Union[pa.Table, None]", "pyarrow"),
        ("Union[None, pl.DataFrame]", "polars"),
        ("t.Optional[pl.DataFrame]", "polars"),
        ("typing.Optional[pd.DataFrame]", "pandas"),
        ("Annotated[pa.Table, 'checked', 5]", "pyarrow"),
        ("Optional[Annotated[pl.DataFrame, pa.Table]]", "polars"),
        ("pa.Table | None", "pyarrow"),
        ("None | pyarrow.Table", "pyarrow"),
        ("'pa.Table'", "pyarrow"),
        ("Optional['pl.DataFrame']", "polars"),
        ("Table", "pyarrow"),
        ("pyarrow.lib.Table", "pyarrow"),
        ("pandas.core.frame.DataFrame", "pandas"),
        ("polars.dataframe.DataFrame", "polars"),
        ("Rows", "pyarrow"),
        ("T", "pyarrow"),
        ("C", "polars"),
        ("N", "polars"),
        ("Mine", "pandas"),
        ("Any", "pandas"),
        ("object", "pandas"),
        ("Optional[Any]", "pandas"),
        ("Union[pl.DataFrame, pd.DataFrame]", "polars"),
        ("arrow.Table", "pyarrow"),
        ("Optional[arrow.Table]", "pyarrow"),
        ("Lake", "polars"),
        ("Rock | None", "pyarrow"),
    ],
)
def test_given_an_annotation_when_called_then_the_table_is_of_its_library(
    project: Path, annotation: str, library: str, quoted: bool
) -> None:
    written = repr(annotation) if quoted else annotation
    assert given(project, f"def fn(rows: {written}):\n    return see(rows)") == library


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        ("Frame", "the annotation of parameter 'rows', 'Frame', cannot be resolved: name 'Frame' is not defined"),
        ("Optional[nowhere.Table]", "name 'nowhere' is not defined; import it in the module"),
        ("pa.Tabel", "module 'pyarrow' has no attribute 'Tabel'"),
        ("'pl.DataFrame' | None", "cannot be resolved: unsupported operand"),
        ("Grid", "name 'Grid' is not defined"),
        ("1 / 0", "cannot be resolved: division by zero"),
        ("list[pd.DataFrame]", "is annotated list[pd.DataFrame], which is no table; annotate it as pandas.DataFrame"),
        ("Sequence[pa.Table]", "which is no table"),
        ("dict[str, pa.Table]", "which is no table"),
        ("pl.LazyFrame", "which is no table"),
        ("pl.Series", "which is no table"),
        ("pa.RecordBatch", "which is no table"),
        ("Optional[int]", "which is no table"),
        ("Literal['pa.Table']", "which is no table"),
        ("None", "which is no table"),
        ("Callable[[], pa.Table]", "which is no table"),
    ],
)
def test_given_an_annotation_that_is_not_understood_when_called_then_it_is_refused_by_name(
    project: Path, annotation: str, says: str
) -> None:
    message = given(project, f"def fn(rows: {annotation}):\n    return see(rows)")
    assert message.startswith("invalid: ")
    assert says in message
    assert "'rows'" in message


@pytest.mark.parametrize(
    ("body", "library"),
    [
        ("def fn(*tables: pa.Table):\n    return see(tables)[0]", "pyarrow"),
        ("def fn(rows: pl.DataFrame) -> nowhere.Thing:\n    return see(rows)", "polars"),
        ("def fn(rows: pl.DataFrame, context: nowhere.Context = None):\n    return see(rows)", "polars"),
        ("def two(rows: Optional[pa.Table], n=1):\n    return see(rows)\nfn = functools.partial(two, n=2)", "pyarrow"),
        ("class N:\n    def __call__(s, rows: Optional[pl.DataFrame]):\n        return see(rows)\nfn = N()", "polars"),
        ("class N:\n    def run(self, rows: 'pa.Table | None'):\n        return see(rows)\nfn = N().run", "pyarrow"),
        (
            "def deco(f):\n    @functools.wraps(f)\n    def inner(*a):\n        return f(*a)\n    return inner\n"
            "@deco\ndef fn(rows: Optional[pa.Table]):\n    return see(rows)",
            "pyarrow",
        ),
    ],
)  # fmt: skip
def test_given_functions_of_all_sorts_when_called_then_only_the_inputs_annotation_counts(
    project: Path, body: str, library: str
) -> None:
    assert given(project, body) == library


def test_given_a_function_wrapped_by_another_module_when_called_then_names_are_those_of_its_own_module(
    project: Path,
) -> None:
    (project / "deco.py").write_text(
        "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def inner(rows):\n        return f(rows)\n"
        "    return inner\n"
    )
    body = "from nodes.deco import deco\n@deco\ndef fn(rows: t.Optional[pl.DataFrame]):\n    return see(rows)"
    assert given(project, body) == "polars"


def test_given_the_usual_names_without_an_import_then_they_mean_what_they_always_do(project: Path) -> None:
    for annotation, library in (("pl.DataFrame", "polars"), ("pa.Table | None", "pyarrow"), ("pd.DataFrame", "pandas")):
        body = f"def fn(rows: {annotation}):\n    return see(rows)"
        assert given(project, body, "from __future__ import annotations") == library


def test_given_no_polars_when_its_type_is_resolved_then_the_error_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    header = "from __future__ import annotations\nfrom typing import *\nif TYPE_CHECKING:\n    import polars as p"
    message = given(project, "def fn(rows: Optional[p.DataFrame]):\n    return see(rows)", header)
    assert "pip install 'odibi-actors[polars]'" in message


def test_given_a_state_when_there_is_none_yet_then_its_annotation_is_resolved_already(project: Path) -> None:
    (project / "s.py").write_text("def fn(rows, state: 'Nowhere'):\n    return rows, rows\n")
    with pytest.raises(Failed, match="annotation of parameter 'state'"):
        run_stateful("nodes.s:fn", {}, {"rows": TABLE}, CONTEXT, None)


# --- what cannot be shown -------------------------------------------------------------------------------------------


class Exits(Exception):
    def __str__(self) -> str:  # noqa: PLE0307
        sys.exit(3)


class Interrupts(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Raises(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


@pytest.mark.parametrize("kind", [Exits, Interrupts, Raises, NoText])
@pytest.mark.parametrize("chained", [False, True])
def test_given_an_exception_that_cannot_be_shown_when_raised_then_it_is_a_failure_as_any_other(
    project: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], chained: bool
) -> None:
    (project / "u.py").write_text("def fn(rows):\n    raise KINDS()\n")

    def make() -> Any:
        error = kind("x")
        if chained:
            error.__cause__, error.__context__ = kind("y"), kind("z")
            error.add_note("note")
        return error

    monkeypatch.setattr(importlib.import_module("nodes.u"), "KINDS", make, raising=False)
    with pytest.raises(Failed) as caught:
        run_function("nodes.u:fn", {}, {"rows": TABLE}, CONTEXT)
    failure = caught.value.failure
    assert failure.kind == "raised"
    assert failure.message.startswith(f"{kind.__name__}: <its message cannot be shown> (u.py line 2, in fn)")
    assert "u.py" in failure.traceback


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RuntimeError("no")])
def test_given_a_result_that_exits_when_it_is_read_then_the_node_fails_and_the_worker_lives(
    project: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (project / "h.py").write_text(
        "import pandas as pd\nclass Frame(pd.DataFrame):\n"
        "    @property\n    def index(self):\n        raise ERROR\n"
        "def fn(rows):\n    return object.__new__(Frame)\n"
    )
    monkeypatch.setattr(importlib.import_module("nodes.h"), "ERROR", error, raising=False)
    with pytest.raises(Failed) as caught:
        run_function("nodes.h:fn", {}, {"rows": TABLE}, CONTEXT)
    assert caught.value.failure.kind == "raised"
