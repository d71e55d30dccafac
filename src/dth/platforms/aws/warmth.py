"""How many writes per second the records' table of a task takes at once ("warm throughput").

A new table takes 4,000, and DynamoDB doubles that in about half an hour of load. A large run would
wait for it. AWS charges once for what is asked for, so only runs that write much more ask.
"""

import logging

from dth.platforms.aws.client import Aws, Refused

NEW_TABLE = 4_000  # write units per second
MOST = 40_000  # the default quota of a table
# Objects per second that a machine settles, as a record each.
PER_MACHINE = 1_500
# Seconds within which the table should be able to take all records of a run. The charge is then
# about a quarter of what the writes themselves cost.
WITHIN = 3_600

log = logging.getLogger(__name__)


def units_for(objects: int, machines: int) -> int:
    """The write units per second that a run of this size needs on at most these machines; 0 if a
    new table takes as many. They double, so that a growing run asks few times."""
    needed = min(objects // WITHIN, machines * PER_MACHINE)
    units = NEW_TABLE
    while units < min(needed, MOST):
        units *= 2
    return min(units, MOST) if units > NEW_TABLE else 0


async def warm(aws: Aws, table: str, units: int) -> None:
    """Ask for this number of write units per second. The table can be used while it changes. If
    AWS refuses, the run continues as fast as the table allows."""
    try:
        await aws.call(
            "dynamodb",
            "update_table",
            TableName=table,
            WarmThroughput={"WriteUnitsPerSecond": units},
        )
    except Refused as error:
        log.warning("the table of records stays as slow as it is: %s", error)
        return
    log.info("the table of records takes more writes", extra={"units": units})
