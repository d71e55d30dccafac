"""The tables of one task: their keys and indexes, in one place. Tests and the deployment create
tables from it.

| table | key | holds |
|---|---|---|
| objects | `ObjectKey` | the record of each object; in `r<run>` which batch wrote its outcome |
| parts | `UploadId`, `PartNumber` | the parts of uploads in progress |
| images | `Image`, `Tag` | the history of images: the image's key, the run as ten digits |
| state | `pk`, `sk` | runs, ledgers, cursors, pages in transit, notes, limits, live uploads |

All are billed on demand. Items of the state table have a time to live in `expires`, and records
that no run needs any more in `Expires` (seconds since the epoch).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    type: str = "S"  # in DynamoDB's terms: S or N


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index of all attributes. It contains only items that have its keys."""

    name: str
    partition: Attribute
    sort: Attribute


@dataclass(frozen=True, slots=True)
class Table:
    """Keys and indexes of a table."""

    partition: Attribute
    sort: Attribute | None = None
    indexes: tuple[Index, ...] = ()
    expires: str = ""  # the attribute with its time to live
    # Whether it can be restored to any moment, unless somebody chose for all tables: that costs
    # nearly as much as the storage. What can be compared again is not worth it.
    recoverable: bool = True

    def is_recoverable(self, chosen: str) -> bool:
        """`chosen`: the value of the parameter `pointInTimeRecovery`."""
        return {"ALL": True, "NONE": False}.get(chosen, self.recoverable)


OBJECT_KEY = Attribute("ObjectKey")
IMAGE = Attribute("Image")

# Only records that need attention have the attribute `Attention`: their status (FAILED, CANCELLED,
# PENDING).
ATTENTION = Index("Attention", Attribute("Attention"), OBJECT_KEY)
BY_RUN = Index("ByRun", Attribute("Run", "N"), IMAGE)

TABLES = {
    "objects": Table(OBJECT_KEY, indexes=(ATTENTION,), expires="Expires", recoverable=False),
    "parts": Table(Attribute("UploadId"), Attribute("PartNumber", "N"), recoverable=False),
    "images": Table(IMAGE, Attribute("Tag"), indexes=(BY_RUN,)),
    "state": Table(Attribute("pk"), Attribute("sk"), expires="expires"),
}


def create_table(name: str, table: Table) -> dict[str, Any]:
    """The arguments of CreateTable."""
    keys = [
        (table.partition, table.sort),
        *((index.partition, index.sort) for index in table.indexes),
    ]
    attributes = {each.name: each.type for pair in keys for each in pair if each}
    arguments: dict[str, Any] = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": kind}
            for attribute, kind in attributes.items()
        ],
        "KeySchema": _schema(table.partition, table.sort),
    }
    if table.indexes:
        arguments["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": _schema(index.partition, index.sort),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in table.indexes
        ]
    return arguments


def _schema(partition: Attribute, sort: Attribute | None) -> list[dict[str, str]]:
    keys = [{"AttributeName": partition.name, "KeyType": "HASH"}]
    return [*keys, {"AttributeName": sort.name, "KeyType": "RANGE"}] if sort else keys
