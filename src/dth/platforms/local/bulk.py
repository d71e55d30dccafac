"""Many rows to one statement, many at a step.

`executemany` steps SQLite once a row and lets go of the GIL each time; with a busy event loop in the other
thread every row then waits for its turn. A statement with all the rows in its VALUES takes one step.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from sqlite3 import Connection
from typing import Any

LARGEST = 128


def insert_rows(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run `statement`, which ends in VALUES, over the rows. Returns how many rows it wrote."""
    written = 0
    for start, count in _chunks(len(rows)):
        chunk = rows[start : start + count]
        sql = _with_values(statement, len(chunk[0]), count)
        written += connection.execute(sql, tuple(chain.from_iterable(chunk))).rowcount
    return written


def select_in(connection: Connection, statement: str, values: Sequence[Any]) -> Iterator[Any]:
    """The rows of `statement`, which ends in IN, over the values."""
    for start, count in _chunks(len(values)):
        sql = statement + _row(count)
        yield from connection.execute(sql, tuple(values[start : start + count]))


def _chunks(total: int) -> Iterator[tuple[int, int]]:
    """(start, count): powers of two, so that a handful of prepared statements serve every length."""
    start = 0
    while start < total:
        count = min(LARGEST, 1 << (total - start).bit_length() - 1)
        yield start, count
        start += count


@cache
def _row(width: int) -> str:
    return f" ({', '.join('?' * width)})"


@cache
def _with_values(statement: str, width: int, count: int) -> str:
    return statement + ",".join([_row(width)] * count)
