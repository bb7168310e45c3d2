"""Which files of ``nodes/`` a function depends on: no more than it must, and never less."""

from __future__ import annotations

from pathlib import Path

import pytest

from odibi_actors.config import load_project
from odibi_actors.config.reach import MAX_FILES, Reach

QUIET = "import pandas as pd\n\n\ndef f(x: pd.DataFrame) -> pd.DataFrame:\n    return x\n"
FILES = {
    "nodes/__init__.py": "",
    "nodes/a.py": QUIET,
    "nodes/b.py": QUIET,
    "nodes/sub/__init__.py": "",
    "nodes/sub/c.py": QUIET,
    "nodes/sub/d.py": QUIET,
}
ALL = {*FILES}


def _reach(module: str = "nodes.a", outside: tuple[str, ...] = (), **texts: str) -> set[str]:
    files = FILES | {f"nodes/{name.replace('sub_', 'sub/')}.py": text for name, text in texts.items()}
    return {*Reach({k: v.encode() for k, v in files.items()}, lambda name: name in outside).of(module)}


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        (QUIET, set()),
        ("from nodes import b", {"nodes/b.py"}),
        ("from nodes.b import f as g", {"nodes/b.py"}),
        ("from . import b", {"nodes/b.py"}),
        ("from .b import *", {"nodes/b.py"}),
        ("import nodes.b as b", {"nodes/b.py"}),
        ("def f():\n    from nodes.sub.c import f\n    return f", {"nodes/sub/__init__.py", "nodes/sub/c.py"}),
        ("from nodes.sub import c", {"nodes/sub/__init__.py", "nodes/sub/c.py"}),
        ("if True:\n    from .sub.d import f", {"nodes/sub/__init__.py", "nodes/sub/d.py"}),
        ("from nodes import sub", {"nodes/sub/__init__.py", "nodes/sub/c.py", "nodes/sub/d.py"}),
        ("import numpy, os.path, scipy.stats as s", set()),
        ('"""Reads what nodes.b has made, see nodes/b.py."""', set()),
        ('TEXT = "all 3 nodes. Nothing of nodes else"', set()),
    ],
)
def test_it_follows_the_imports_wherever_they_stand(text: str, reached: set[str]) -> None:
    assert _reach(a=text) == {"nodes/__init__.py", "nodes/a.py"} | reached


def test_it_follows_the_imports_of_what_is_imported() -> None:
    assert _reach(a="from nodes import b", b="from .sub import c", sub_c="from . import d") == ALL
    assert _reach(__init__="from nodes.sub.d import f") == ALL - {"nodes/b.py", "nodes/sub/c.py"}


@pytest.mark.parametrize(
    "text",
    [
        "import nodes",
        "import nodes.b",
        "import nodes as n",
        "from nodes import *",
        "from nodes.gone import f",
        "from .. import f",
        "import importlib\ndef f(name): return importlib.import_module(name)",
        "from importlib import import_module",
        "import pickle",
        "import sys\ndef f(): return sys.modules",
        "from sys import modules",
        "def f(name): return __import__(name)",
        "def f(text): exec(text)",
        "class A: pass\ndef f(): return A.__subclasses__()",
        'def f(find): return find("nodes.b:f")',
        'def f(find, name): return find(f"nodes.{name}")',
        'def f(run): run(["python", "/srv/nodes/b.py"])',
        "import beside",
        "from beside.more import x",
        "def f(:",
        "\0",
    ],
)
def test_what_may_reach_anything_depends_on_everything(text: str) -> None:
    assert _reach(a=text, outside=("beside",)) == ALL
    assert _reach(a="from nodes import b", b=text, outside=("beside",)) == ALL
    assert _reach(module="nodes.sub.c", a=text, outside=("beside",)) == ALL - {
        "nodes/a.py",
        "nodes/b.py",
        "nodes/sub/d.py",
    }


@pytest.mark.parametrize(
    "text",
    [
        "import pandas as pd\npd.options.mode.copy_on_write = True",
        "import pandas as pd\npd.set_option('display.width', 80)",
        "import numpy as np\nOLD = np.seterr(all='raise')",
        "from nodes.registry import register\n@register\ndef f(x): return x",
        "from nodes.base import Base\nclass A(Base): pass",
        "import pandas as pd\n@pd.api.extensions.register_dataframe_accessor('geo')\nclass Geo: pass",
        "from functools import singledispatch\nfrom nodes.base import f\n@f.register(int)\ndef g(x): return x",
        "from nodes.registry import ALL\nALL['f'] = 1",
        "from nodes.registry import ALL\nALL += [1]",
        "from nodes.registry import ALL\nfor one in ALL:\n    one.on = True",
        "from nodes.registry import patch\nX = [patch(n) for n in (1, 2)]",
        "def f(x, y=__import__('os').remove('x')): return x",
        "class A:\n    def __init_subclass__(cls): cls.other.on = True\nclass B(A): pass",
        "import abc\nclass A(metaclass=abc.ABCMeta): pass",
        "__path__ = ['elsewhere']",
        "def set(x): x.on = True\nX = set(1)",
        "import re\nimport os\nre = os\nX = re.remove('x')",
        "import pyarrow as pa\nX = pa.register_extension_type(1)",
        "if (lambda x: x)(1):\n    pass",
        "import os\ntry:\n    os.nice(1)\nexcept OSError:\n    pass",
        "with open('x') as f:\n    X = f.read()",
        "del X",
    ],
)
def test_a_module_that_acts_when_it_is_imported_counts_for_all(text: str) -> None:
    files = {"registry": "ALL = {}\ndef patch(x): return x\nregister = patch", "base": "class Base: pass"}
    assert "nodes/b.py" in _reach(b=text, **files)
    if "nodes.base" in text:
        assert "nodes/base.py" in _reach(b=text, **files)


@pytest.mark.parametrize(
    "text",
    [
        "'''Doc.'''\nfrom __future__ import annotations\n__all__ = ['f']\nLIMIT: int = 3\nA, B = 1, 'x y'.split()",
        "import re, logging\nlog = logging.getLogger(__name__)\nWORD = re.compile('x')\nNAMES = sorted({'a', 'b'})",
        "import pyarrow as pa\nS = pa.schema([pa.field('a', pa.int64())])\nT = {n: pa.string() for n in range(3)}",
        "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass A:\n    x: list = field()",
        "from functools import lru_cache\n@lru_cache(maxsize=10)\ndef f(x, y=3, *, z=None): return open(x)",
        "import enum, typing as t\nclass A(enum.Enum):\n    X = 1\nclass C(Exception, t.Generic[int]): pass",
        "try:\n    import polars\nexcept ImportError:\n    polars = None\nif polars is None:\n    pass",
        "from pathlib import Path\nHERE = Path(__file__).parent / 'x'\nkey = lambda x: remove(x)",
        "class A:\n    @property\n    def x(self): return 1\n    @x.setter\n    def x(self, value): self.on = value",
        "def f(:",
    ],
)
def test_a_module_that_only_defines_counts_for_those_that_import_it(text: str) -> None:
    assert _reach(b=text) == {"nodes/__init__.py", "nodes/a.py"}


def test_a_function_without_its_module_and_too_many_files_depend_on_everything() -> None:
    assert _reach(module="nodes.gone") == ALL
    many = {f"nodes/m{number}.py": b"" for number in range(MAX_FILES + 1)}
    assert Reach(many, lambda _: False).of("nodes.m1") == many.keys()


PROJECT = """
project: p
connections: {here: {type: local, path: data}}
pipelines:
  - pipeline: one
    nodes:
      - {name: r, read: {connection: here, format: csv, mode: file_watch, pattern: "*.csv"}}
      - {name: t, inputs: [r], transform: {function: "nodes.a:f"}}
      - {name: q, inputs: [t], transform: {sql: "select * from t"}}
      - {name: w, inputs: [q], write: {connection: here, path: out, format: parquet}}
  - pipeline: two
    nodes:
      - {name: r, read: {connection: here, format: csv, mode: file_watch, pattern: "*.csv"}}
      - {name: t, inputs: [r], transform: {function: "nodes.b:f"}}
      - {name: w, inputs: [t], write: {connection: here, path: two, format: parquet}}
"""


def test_a_change_of_one_module_changes_the_pipelines_that_reach_it(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "odibi.yaml").write_text(PROJECT)
    for name in ("a", "b", "c"):
        (tmp_path / "nodes" / f"{name}.py").write_text(QUIET)
    before = load_project(tmp_path)
    assert [list(p.code.files) for p in before.pipelines] == [["nodes/a.py"], ["nodes/b.py"]]
    assert [list(p.code.nodes) for p in before.pipelines] == [["t"], ["t"]]
    (tmp_path / "nodes" / "a.py").write_text(QUIET + "\n# another\n")
    after = load_project(tmp_path)
    assert before.code_digest != after.code_digest
    assert [a == b for a, b in zip(before.pipelines, after.pipelines, strict=True)] == [False, True]
    (tmp_path / "b").mkdir()  # `import b` may find it now, and nodes.b imports it not
    (tmp_path / "nodes" / "b.py").write_text("import lib\n" + QUIET)
    (tmp_path / "lib.py").write_text("from nodes import c\n")
    assert [*load_project(tmp_path).pipelines[1].code.files] == ["nodes/a.py", "nodes/b.py", "nodes/c.py"]
