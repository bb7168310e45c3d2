"""References to secrets: ``${NAME}``, a variable of the environment or of ``.env``, or ``file:PATH``, a file below the
project or an absolute path. They travel and are kept; what they stand for is looked up where it is used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from odibi_actors.config.problems import Problems
from odibi_actors.config.variables import read_env_file
from odibi_actors.errors import AccessError

MAX_SECRET = 64 * 1024
"""Bytes of a file that holds one."""
FILE = "file:"
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


def resolve(reference: str, root: str, env: Mapping[str, str] | None = None) -> str:
    """What a reference stands for now. ``root``: the project's folder; ``env``: default, this process's. Raises
    AccessError, which names the reference alone."""
    if match := VARIABLE.fullmatch(reference):
        known = read_env_file(Path(root, ".env"), Problems(".env")) if root else {}
        value = (known | dict(os.environ if env is None else env)).get(match[1], "")
        if not value:
            raise AccessError(f"{match[1]} is not set, neither in the environment nor in .env beside odibi.yaml")
        return value
    path = Path(root, reference.removeprefix(FILE))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET + 1)
        value = data.decode().rstrip("\r\n")
    except OSError as error:
        raise AccessError(f"{path}, which holds a secret, cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AccessError(f"{path}, which holds a secret, is not UTF-8") from None
    if not value or len(data) > MAX_SECRET:
        raise AccessError(f"{path}, which holds a secret, is empty, or larger than {MAX_SECRET} bytes")
    return value
