"""The process of one poll: ``python -m odibi_actors.sources.ticks.child``. Reads an Order from stdin, writes an Arrow
file to its ``out``, and says how many rows that has, or what is wrong, on stdout. What user code prints goes to stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa

from odibi_actors.batches.ipc import encode
from odibi_actors.batches.normalise import normalise
from odibi_actors.config.model import PollSpec, ReadSpec
from odibi_actors.errors import OdibiError
from odibi_actors.kinds.connection import Access
from odibi_actors.kinds.dialect import Unreadable
from odibi_actors.kinds.registry import dialect_of
from odibi_actors.nodes.failures import Failed
from odibi_actors.nodes.formats import Malformed
from odibi_actors.nodes.package import claim
from odibi_actors.nodes.transform import Context, run_function
from odibi_actors.sources.ticks.poll import Order, Said

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def main() -> None:
    """See above."""
    answer = os.dup(1)
    os.dup2(2, 1)
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    with open(answer, "wb") as told:
        told.write(msgspec.json.encode(carried_out(order)))


def carried_out(order: Order) -> Said:
    """Do what is to be done."""
    try:
        table = of_function(order) if order.polled.function else of_query(order.polled, order)
    except Failed as error:
        return Said(problem=error.failure.message)
    except Malformed as error:
        return Said(problem=f"column {error.column}: {error.message}" if error.column else error.message)
    except (Unreadable, OdibiError) as error:
        return Said(problem=str(error))
    Path(order.out).write_bytes(encode(table.combine_chunks()))
    return Said(table.num_rows)


def of_function(order: Order) -> pa.Table:
    """What the project's function returns. Raises Failed."""
    claim(Path(order.root), code=order.code)
    logger = logging.getLogger(f"{order.pipeline}.{order.node}")
    at = _EPOCH + timedelta(seconds=order.at)
    context = Context(order.pipeline, 0, order.node, 1, None, logger, scheduled_at=at)
    return run_function(order.polled.function, order.polled.params, {}, context)


def of_query(polled: PollSpec, order: Order) -> pa.Table:
    """The rows of a table or a query, each value as it is. Raises Unreadable, Malformed, OdibiError."""
    read = ReadSpec(polled.connection, "sql", "incremental", consumption="cursor", of_table=polled.of_table)
    with dialect_of(polled.connection.type).open(read, Access(order.access, order.root)) as session:
        session.snapshot()
        relation = session.relation(read)
        columns = session.columns(relation)
        selected = ", ".join(session.selected(column, False) for column in columns)
        table = session.table(f"select {selected}, '', '' from {relation}", [], columns, {})
    return normalise(table.select(range(len(columns))))


if __name__ == "__main__":
    main()
