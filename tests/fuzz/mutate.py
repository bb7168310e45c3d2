"""Bytes from bytes: flips, cuts and splices, and, where they are msgpack, values put in the place of values."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

HOSTILE: tuple[Any, ...] = (
    *(0, -1, 1, 2, 255, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.0, -0.0, 0.5, 1e308, -1e308, float("nan"), float("inf"), -float("inf")),
    *(
        None,
        True,
        False,
        "",
        "p",
        "read",
        "look",
        "\0",
        "\x1b]0;title\x07",
        "\u202e",
        "../../x",
        "a" * 5000,
        "{}",
        "[[]]",
    ),
    *(b"", b"\xff" * 300, [], [[]], [1, "p", None], {}, {"p": 1}, {"": {}}, {1: 2}, [0] * 2000, ["x"] * 300),
    *("broker", "store", "client-t", "pool-0", "-1", "1", "nan", "1e999", "9" * 5000, "2147483648"),
)
"""What programs forget: ends of ranges, wrong kinds, texts that mean something to somebody else."""

MOST_PLACES = 3000
INTERESTING = bytes(
    [0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xC4, 0xC7, 0xCF, 0xD9, 0xDB, 0xDD, 0xDF, 0xFF, 10, 34, 91, 123]
)


def deep(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


class Mutator:
    """``seeds``: what is spliced in; ``words``: pieces of the format's own language; ``head``: bytes before the value
    where the bytes are msgpack."""

    def __init__(self, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes] = (), head: int = 0) -> None:
        self._rng, self._seeds, self._words, self._head = rng, seeds, words, head
        self._raw: list[Callable[[bytearray], None]] = [self._flip, self._set, self._cut, self._repeat, self._splice]
        if words:
            self._raw += [self._word, self._word]

    def mutate(self, data: bytes, longest: int) -> bytes:
        """``data`` with one to four changes, at most ``longest`` bytes."""
        rng = self._rng
        if rng.random() < 0.05 and self._seeds:
            data = rng.choice(self._seeds)
        if not self._words and rng.random() < 0.6:
            changed = self._values(data)
            if changed is not None:
                return changed[:longest]
        buffer = bytearray(data or b"\0")
        for _ in range(rng.randint(1, 4)):
            rng.choice(self._raw)(buffer)
            if not buffer:
                buffer.append(rng.randrange(256))
        return bytes(buffer[:longest])

    # --- bytes ------------------------------------------------------------------------------------------------------

    def _flip(self, buffer: bytearray) -> None:
        at = self._rng.randrange(len(buffer))
        buffer[at] ^= 1 << self._rng.randrange(8)

    def _set(self, buffer: bytearray) -> None:
        buffer[self._rng.randrange(len(buffer))] = self._rng.choice(INTERESTING)

    def _cut(self, buffer: bytearray) -> None:
        begin = self._rng.randrange(len(buffer))
        del buffer[begin : begin + self._rng.randint(1, 8)]

    def _repeat(self, buffer: bytearray) -> None:
        begin = self._rng.randrange(len(buffer))
        piece = buffer[begin : begin + self._rng.randint(1, 16)]
        buffer[begin:begin] = piece * self._rng.choice((1, 1, 2, 50))

    def _splice(self, buffer: bytearray) -> None:
        if self._seeds:
            other = self._rng.choice(self._seeds)
            begin = self._rng.randrange(len(other) + 1)
            at = self._rng.randrange(len(buffer))
            buffer[at : at + self._rng.randint(0, 20)] = other[begin : begin + self._rng.randint(1, 40)]

    def _word(self, buffer: bytearray) -> None:
        at = self._rng.randrange(len(buffer) + 1)
        buffer[at : at + self._rng.choice((0, 0, 1, 5))] = self._rng.choice(self._words)

    # --- values -----------------------------------------------------------------------------------------------------

    def _values(self, data: bytes) -> bytes | None:
        """Replace, drop or double values somewhere inside; None when the bytes are no msgpack."""
        try:
            value = msgspec.msgpack.decode(data[self._head :])
            for _ in range(self._rng.randint(1, 3)):
                value = self._somewhere(value)
            return data[: self._head] + msgspec.msgpack.encode(value)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
            return None

    def _somewhere(self, value: Any) -> Any:
        """``value`` with one change, at a place chosen evenly among all there are."""
        rng = self._rng
        holders: list[tuple[Any, Any]] = [(None, None)]
        level = [value] if isinstance(value, dict | list) else []
        while level and len(holders) < MOST_PLACES:
            below = []
            for inside in level:
                keys: Iterable[Any] = inside if isinstance(inside, dict) else range(len(inside))
                holders += [(inside, key) for key in keys]
                below += [inside[key] for key in keys if isinstance(inside[key], dict | list)]
            level = below
        holder, key = rng.choice(holders)
        if holder is None:
            return self._instead(value)
        dice = rng.random()
        if dice < 0.06:
            del holder[key]
        elif dice < 0.1 and isinstance(holder, list):
            holder *= rng.choice((2, 3, 40))
        else:
            holder[key] = self._instead(holder[key])
        return value

    def _instead(self, value: Any) -> Any:
        rng = self._rng
        if isinstance(value, bytes) and rng.random() < 0.7:
            inner = Mutator(rng, ())._values(value)
            return value if inner is None else inner
        if isinstance(value, int) and rng.random() < 0.4:
            return value + rng.choice((-1, 1))
        return deep(rng.choice((5, 30, 70, 600))) if rng.random() < 0.02 else copy.deepcopy(rng.choice(HOSTILE))
