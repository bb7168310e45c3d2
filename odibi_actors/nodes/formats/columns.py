"""Which columns of a file are read: ``read.columns``, ``read.ignore``, ``read.optional``, and what is known by now."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from typing import NamedTuple

from odibi_actors.nodes.formats import Malformed

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Wanted(NamedTuple):
    """``take``: only these, unless it is empty; ``ignore``: not these; ``optional``: may be missing. ``expected``: what
    earlier files had (None: this is the first), which this one must have too, and no more."""

    take: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    expected: tuple[str, ...] | None = None

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
        missing = [name for name in needed if name not in named and name not in self.optional]
        extra = [] if self.expected is None else [name for name in named if name not in self.expected]
        if missing or extra:
            raise Malformed(self._misfit(missing, extra, needed), column=(missing + extra)[0])
        if not named:
            raise Malformed("no column has a name" if not found else "none of its columns is to be read")
        order = self.expected if self.expected is not None else (self.take or tuple(named))
        return [name for name in order if name in named]

    def _misfit(self, missing: list[str], extra: list[str], needed: tuple[str, ...]) -> str:
        texts = [f"column {name!r} is missing" for name in missing]
        for name in extra:
            texts.append(f"column {name!r} is new{_twin(name, missing)}")
        remedies = []
        if len(extra) == 1 and (delimiter := _delimiter(extra[0], needed)):
            remedies.append(
                f"options: {{delimiter: {json.dumps(delimiter)}}} reads it where all files of the source are"
            )
            missing, extra = [], []
        if missing:
            remedies.append(f"read.optional: [{quoted(missing[0])}] reads nulls where it is missing")
        if extra:
            name = quoted(extra[0])
            remedies.append(
                f"read.ignore: [{name}] leaves it out; "
                f"read.schema: {{{name}: TYPE}} with read.optional: [{name}] takes it"
            )
        return f"{'; '.join(texts)}; expected: {', '.join(needed)}; {'; '.join(remedies)}"


def _twin(name: str, others: list[str]) -> str:
    """Which of the others it was probably meant to be."""
    for other in others:
        if alike(other) == alike(name):
            return f" (it differs from {other!r} by blanks or case)"
        if _plain(other) == _plain(name):
            return f" (it differs from {other!r} by characters that cannot be seen, or look the same)"
    return ""


def _plain(name: str) -> str:
    seen = (one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")
    return alike("".join(seen))


def _delimiter(name: str, needed: tuple[str, ...]) -> str:
    """What separates the names of a header that was read as one, if these are the ones that are needed."""
    found = (one for one in ";\t|," if sorted(part.strip('"') for part in name.split(one)) == sorted(needed))
    return next(found, "") if len(needed) > 1 else ""


def alike(name: str) -> str:
    """What names that differ by blanks or case only have in common."""
    return re.sub(r"\s+", "", name).casefold()


def quoted(name: str) -> str:
    """A name as it is written in YAML."""
    return (
        name
        if _PLAIN.fullmatch(name) and name.lower() not in ("null", "true", "false", "yes", "no")
        else json.dumps(name)
    )
