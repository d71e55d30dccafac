"""The hub's SQL, in SQLite and in PostgreSQL: the database as the adapters see it, and all in which
the two differ."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import BigInteger, Connection, CursorResult, FromClause, Integer, Table, Text, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from dth.core.errors import DatabaseAway
from dth.platforms.local.encoding import to_line

P = ParamSpec("P")
T = TypeVar("T")

# Seconds before what failed because the database is away tries again.
AWAY = 2.0
SQLITE, POSTGRES = "sqlite", "postgresql"


class SqlDatabase(Protocol):
    """A database of a hub, as one process has it open."""

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(connection, ...)` in a transaction that sees one snapshot and takes no lock."""
        ...

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(connection, ...)` as the only writer. If it raises, none of its changes are
        kept."""
        ...


async def write_patiently(
    database: SqlDatabase,
    work: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """As `SqlDatabase.write`, and for as long as the database is away, again and again."""
    while True:
        try:
            return await database.write(work, *args, **kwargs)
        except DatabaseAway:
            await asyncio.sleep(AWAY)


# ------------------------------------------------------------------------------------------ columns

# Text is compared by its bytes, whatever the language of the database.
Words = Text().with_variant(Text(collation="C"), POSTGRES)
# A number that may need more than 32 bits.
Long = Integer().with_variant(BigInteger(), POSTGRES)


class Line(TypeDecorator[str]):
    """A column of text for people."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> TypeEngine[str]:
        return Text(collation="C") if dialect.name == POSTGRES else Text()

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is None:
            return None
        line = to_line(value)
        # PostgreSQL accepts no NUL.
        return line.replace("\0", "\\x00") if dialect.name == POSTGRES else line


class _PostgresJson(UserDefinedType[str]):
    """PostgreSQL's JSON, which keeps the text as it was written. The driver must not parse it."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"


# A column with JSON in it, which adapters write and read as text, and which queries may look into.
Json = Text().with_variant(_PostgresJson(), POSTGRES)


# --------------------------------------------------------------------------------------- statements


def add_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row, unless there is one already that must be different. Returns whether it was
    inserted."""
    statement = _insert(connection)(table).values(row).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def put(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row, or replace these values in the row with the same primary key."""
    keys = [column.name for column in table.primary_key]
    statement = _insert(connection)(table).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=row))


def _insert(connection: Connection) -> Callable[[Table], sqlite.Insert | postgresql.Insert]:
    return postgresql.insert if connection.dialect.name == POSTGRES else sqlite.insert


def names_in(column: Any) -> FromClause:
    """The names in the object in a column of JSON, as a table with the column `key`."""
    return func.json_each(column).table_valued("key", "value")


def spell(statement: str, **words: Mapping[str, str]) -> dict[str, str]:
    """A statement in plain SQL, as each kind of database wants it. Values are written `:name`.
    `words`: what stands for `{name}` in each of them."""
    spelled = {}
    for dialect in (SQLITE, POSTGRES):
        text = statement.format(**{name: each[dialect] for name, each in words.items()})
        is_postgres = dialect == POSTGRES
        spelled[dialect] = re.sub(r":(\w+)", r"%(\1)s", text) if is_postgres else text
    return spelled


def run(
    connection: Connection, statement: Mapping[str, str], values: Mapping[str, Any]
) -> CursorResult[*tuple[Any, ...]]:
    """Run a statement that `spell` made. It is not compiled, and so costs least."""
    return connection.exec_driver_sql(statement[connection.dialect.name], dict(values))
