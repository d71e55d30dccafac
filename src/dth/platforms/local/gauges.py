"""What each process of a task reports of itself."""

from dataclasses import asdict, fields

from sqlalchemy import Connection, delete
from sqlalchemy.dialects import sqlite

from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.schema import gauge
from dth.platforms.ports import Gauge

FORGET_AFTER = 86_400.0  # a process that has said nothing for a day is not coming back


class LocalGauges:
    """`ports.Gauges` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def report(self, gauge: Gauge) -> None:
        await self._database.write(_report, gauge)

    async def all(self) -> list[Gauge]:
        return await self._database.read(read_gauges)


def _report(connection: Connection, report: Gauge) -> None:
    values = asdict(report)
    connection.execute(
        sqlite.insert(gauge).values(values).on_conflict_do_update(index_elements=["process"], set_=values)
    )
    connection.execute(delete(gauge).where(gauge.c.at < report.at - FORGET_AFTER))


def read_gauges(connection: Connection) -> list[Gauge]:
    return [Gauge(*row) for row in connection.exec_driver_sql(READ)]


READ = f"SELECT {', '.join(field.name for field in fields(Gauge))} FROM gauge ORDER BY process"
