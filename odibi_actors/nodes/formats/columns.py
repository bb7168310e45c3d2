"""Which columns of a file are read: ``read.columns``, ``read.ignore``, ``read.optional``, and what is known by now."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa

from odibi_actors.config.remedies import listed, schema
from odibi_actors.nodes.failures import shorten
from odibi_actors.nodes.formats import Malformed

MAX_LISTED = 300
"""Characters of a list of columns in a message."""
_MAX_NAMED = 3
"""Columns of one kind that a message names one by one."""


class Wanted(NamedTuple):
    """``take``: only these, unless it is empty; ``ignore``: not these; ``optional``: may be missing. ``expected``: what
    earlier files had (None: this is the first), which this one must have too, and no more. ``types``: those of columns
    as far as they are known; ``declared``: by ``read.schema``. ``open``: others may be there, and those that are
    expected may be missing."""

    take: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    expected: tuple[str, ...] | None = None
    types: Mapping[str, pa.DataType] = MappingProxyType({})
    declared: frozenset[str] = frozenset()
    open: bool = False

    def ignored(self, name: str) -> bool:
        """Whether a column of that name is left out."""
        return name in self.ignore or (bool(self.take) and name not in self.take)

    def chosen(self, found: list[str]) -> list[str]:
        """The columns to read of those that a file has, in the order in which they are expected.

        Columns without a name are left out: what is in them is for the format to look at. Raises Malformed when
        a column is missing, new, or there twice.
        """
        named = [name for name in found if name.strip() and not self.ignored(name)]
        if twice := [name for name, count in Counter(named).items() if count > 1]:
            message = f"several columns are named {', '.join(map(repr, twice))}: give each its own name"
            raise Malformed(message, column=twice[0])
        needed = self.expected if self.expected is not None else self.take
        there = frozenset(named)
        missing = [name for name in needed if name not in there and name not in self.optional]
        known = frozenset(self.expected or ())
        extra = [] if self.expected is None else [name for name in named if name not in known]
        if (missing or extra) and not (self.open and self.expected is not None):
            raise Malformed(self._misfit(missing, extra, needed), column=(missing + extra)[0], uneven=missing + extra)
        if not named:
            unnamed = "no column has a name" if not any(map(str.strip, found)) else "none of its columns is to be read"
            raise Malformed(unnamed if found else "the file has no columns")
        order = self.expected if self.expected is not None else (self.take or tuple(named))
        return [*(name for name in order if name in there), *extra]

    def _misfit(self, missing: list[str], extra: list[str], needed: tuple[str, ...]) -> str:
        texts = [f"column {name!r} is missing" for name in missing[:_MAX_NAMED]]
        texts += [f"column {name!r} is new{twin(name, missing)}" for name in extra[:_MAX_NAMED]]
        if more := max(len(missing) - _MAX_NAMED, 0) + max(len(extra) - _MAX_NAMED, 0):
            texts.append(f"so {'is' if more == 1 else 'are'} {more} more")
        remedies = []
        if missing:
            name = missing[0]
            kind = "" if name in self.declared else f"{schema('read', name, self.types.get(name, 'TYPE'))} with "
            remedies.append(f"{kind}{listed('read.optional', name)} reads nulls where it is missing")
        if extra:
            name = extra[0]
            declared = f"{schema('read', name, 'TYPE')} with {listed('read.optional', name)}"
            remedies.append(f"{listed('read.ignore', name)} leaves it out; {declared} takes it")
        return f"{'; '.join(texts)}; expected: {shorten(', '.join(needed), MAX_LISTED)}; {'; '.join(remedies)}"


def twin(name: str, others: Iterable[str]) -> str:
    """Which of the others it was probably meant to be, in words; "" when none."""
    for other in others:
        if alike(other) == alike(name):
            return f" (it differs from {other!r} by blanks or case)"
        if _plain(other) == _plain(name):
            return f" (it differs from {other!r} by characters that cannot be seen, or look the same)"
    return ""


def _plain(name: str) -> str:
    seen = (one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")
    return alike("".join(seen))


def alike(name: str) -> str:
    """What names that differ by blanks or case only have in common."""
    return re.sub(r"\s+", "", name).casefold()
