"""The error tree. Every error that reaches a user says what is wrong, where, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odibi_actors.config.problems import Problem


class OdibiError(Exception):
    """Base of all errors raised by Odibi Actors. ``exit_code`` is what ``odibictl`` exits with."""

    exit_code = 1


class ConfigError(OdibiError):
    """The project file is invalid; the message lists every problem with file, line and suggestion; ``problems`` has
    them as values."""

    exit_code = 2

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class NotFoundError(OdibiError):
    """The named pipeline, iteration, node, worker or file does not exist."""

    exit_code = 3


class ConflictError(OdibiError):
    """The request contradicts the present state (already running, prepared, owned by another)."""

    exit_code = 4


class RunFailedError(OdibiError):
    """A run ended with a failed iteration."""

    exit_code = 5


class UnreachableError(OdibiError):
    """No broker answers at the endpoint."""

    exit_code = 69


class TimedOutError(OdibiError):
    """The wait ended before the condition held."""

    exit_code = 124


class ProtocolError(OdibiError):
    """A peer sent bytes that are not a valid message; the bytes are dropped, the peer is at fault."""


class StoreError(OdibiError):
    """The checkpoint store cannot be read, verified or written."""


class BatchError(OdibiError):
    """A batch is missing, damaged, too large, has another schema than planned, or holds what cannot be carried exactly;
    ``column``: which one of it, where it is one."""

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column


class AccessError(OdibiError, OSError):
    """A secret is not there by which a connection is entered; the message says where it was looked for."""


class NodeError(OdibiError):
    """A node cannot produce its output; see ``odibi_actors.model.Failure`` for its durable form."""


class MissingExtraError(OdibiError):
    """An optional dependency is not installed; the message names the ``pip install`` line."""
