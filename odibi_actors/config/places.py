"""Paths and addresses that a project names: what may be said about them without touching them."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

MAX_PATH = 4096
MAX_URL = 2000
WEBHOOK = "such as https://hooks.example.org/odibi"


def leads_out(path: str) -> bool:
    """``path`` is not below the folder it is relative to."""
    return os.path.isabs(path) or os.path.normpath(path).split("/")[0] == ".."


def lies_in(path: str, folder: str) -> bool:
    """``path`` is ``folder`` or below it; both absolute and tidy."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def unsound_webhook(url: str) -> str:
    """Why nothing can be sent to ``url``, or ""."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"a URL has at most {MAX_URL} characters, of ASCII, without spaces"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"not a URL: {error}"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname or port == 0:
        return "names no host" if not parts.hostname else "port 0 is none"
    return "must not hold a user or password" if "@" in parts.netloc else ""


def without_secret(url: str) -> str:
    """Scheme and host of a webhook: its path and query are as good as a password (``https://hooks.slack.com/...``)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "..."
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/..." if parts.scheme and host else "..."


def unsound_command(path: str) -> str:
    """Why ``path`` is no tidy path below the project's folder, or ""."""
    if not path or len(path) > MAX_PATH or not path.isprintable():
        return f"a path has 1 to {MAX_PATH} printable characters"
    if leads_out(path) or path.startswith("~"):
        return "leads out of the project's folder"
    return "" if path == os.path.normpath(path) and path != "." else "is not a tidy path"
