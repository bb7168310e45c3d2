"""What holds for all tests."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from odibi_actors.nodes import package

# How long an example takes depends on what else this machine does: no test asserts time.
settings.register_profile("odibi", deadline=None)
settings.load_profile("odibi")


@pytest.fixture(autouse=True)
def nodes_are_nobodys() -> Iterator[None]:
    """A test that runs a project in this process leaves its ``nodes`` to no other."""
    path, finders, former = list(sys.path), list(sys.meta_path), sys.modules.get(package.PACKAGE)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    if sys.modules.get(package.PACKAGE) is not former or former is None:
        package.forget()
