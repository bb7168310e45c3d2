"""What the engine says of projects, in words of a program that has a ``StreamManager``."""

from __future__ import annotations

import re
from typing import Final

from odibi_actors.local.streams.desk import STREAM
from odibi_actors.local.streams.reading import SOURCE

_ELSEWHERE: Final = (
    (re.compile(rf"\b{STREAM}([/.]| \d+ ){SOURCE}\b"), "{name}"),
    (re.compile(r" ?\(`odibictl [^`]*`\)"), ""),
    (re.compile(r", give it another name, or say `on_change: reprocess`, [^;.]*"), ", or give it another name"),
    (re.compile(r", then `odibictl reset [^`]*`"), ""),
    (re.compile(r"\b(?:say )?read\.(schema|optional|ignore|columns|options)\b"), r"read_options \1"),
    (re.compile(r"\boptions: \{"), "read_options: {"),
)


def in_words(name: str, text: str) -> str:
    """A message as it is told of the stream of this name."""
    for pattern, words in _ELSEWHERE:
        text = pattern.sub(words.replace("{name}", name.replace("\\", r"\\")), text)
    return text
