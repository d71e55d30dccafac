"""What a transfer asks of both stores and costs, by one table of list prices.

Every store's requests are counted at Amazon's prices; transfer is what AWS takes for bytes that leave a region. What
another store charges for bytes that leave it is not in the table.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from dth.platforms.ports import Counts
from dth.s3.endpoints import Endpoint
from dth.s3.parameters import S3Parameters, StorageClass
from dth.s3.task import resolve_endpoints

PRICES_OF = "2026-11, Amazon S3 Standard, us-east-1, list prices in USD"
GET_PRICE = 0.0004 / 1000  # GET, HEAD
PUT_PRICE = 0.005 / 1000  # PUT, COPY, POST, LIST
CLASS_PUT_PRICES: dict[str, float] = {  # of a PUT straight into another storage class
    StorageClass.STANDARD_IA: 0.01 / 1000,
    StorageClass.ONEZONE_IA: 0.01 / 1000,
    StorageClass.GLACIER_IR: 0.02 / 1000,
    StorageClass.GLACIER: 0.03 / 1000,
    StorageClass.DEEP_ARCHIVE: 0.05 / 1000,
}
INTERNET_GIB = 0.09  # out of AWS to the internet, first tier
REGION_GIB = 0.02  # between AWS regions
PAGE = 1000
GIB = 1024**3


class Way(StrEnum):
    """Where the bytes go, as far as their price is concerned."""

    SAME_REGION = "same region"
    BETWEEN_REGIONS = "between regions"
    TO_INTERNET = "to the internet"
    FROM_ELSEWHERE = "from outside AWS"


WAY_PRICES = {Way.BETWEEN_REGIONS: REGION_GIB, Way.TO_INTERNET: INTERNET_GIB}


def way(source: Endpoint, dest: Endpoint) -> Way:
    """From store to store, by workers that stand beside one of them."""
    if not source.is_aws:
        return Way.FROM_ELSEWHERE
    if not dest.is_aws:
        return Way.TO_INTERNET
    return Way.SAME_REGION if source.region == dest.region else Way.BETWEEN_REGIONS


@dataclass(frozen=True, slots=True)
class Cost:
    """In USD, by `PRICES_OF`. `storage_class`: what writing straight into the class costs beyond Standard."""

    requests: float
    storage_class: float
    transfer: float

    @property
    def total(self) -> float:
        return self.requests + self.storage_class + self.transfer


def cost_of(
    size: float,
    objects: float,
    *,
    lists: float = 0,
    parts: float = 0,
    parted: float = 0,
    heads: float = 0,
    storage_class: str | None = None,
    way: Way = Way.SAME_REGION,
) -> Cost:
    """Of moving `objects` objects of `size` bytes in all, `parted` of which go in `parts` parts, after `lists` pages of
    listings and `heads` looks at single objects."""
    gets = objects - parted + parts + heads
    puts = objects - parted
    dearer = CLASS_PUT_PRICES.get(storage_class, PUT_PRICE) - PUT_PRICE if storage_class else 0.0
    return Cost(
        requests=gets * GET_PRICE + (puts + parts + 2 * parted + lists) * PUT_PRICE,
        storage_class=(puts + parts + 2 * parted) * dearer,
        transfer=size / GIB * WAY_PRICES.get(way, 0.0),
    )


def spent(parameters: S3Parameters, runs: Sequence[Counts]) -> float:
    """What runs have cost so far, in USD. Their ledgers do not tell which objects went in parts: all bytes count as
    if they had, which adds next to nothing for small objects."""
    source, dest = resolve_endpoints(parameters)
    return sum(
        cost_of(
            counts.done_bytes,
            counts.done + counts.failed,
            lists=-(-counts.listed // PAGE) + -(-counts.dest_listed // PAGE),
            parts=counts.done_bytes / parameters.part_size,
            heads=counts.unproven + counts.deleted + counts.delete_kept,
            storage_class=parameters.dest_storage_class if dest.is_aws else None,
            way=way(source, dest),
        ).total
        for counts in runs
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    list_requests: int
    get_requests: int
    put_requests: int
    bytes: int
    requests_usd: float
    between_regions_usd: float
    to_internet_usd: float

    def as_dict(self) -> dict[str, float | str]:
        return {**asdict(self), "prices": PRICES_OF}

    def rows(self) -> list[tuple[str, str]]:
        return [
            (
                "requests",
                f"{self.list_requests} LIST, {self.get_requests} GET/HEAD, {self.put_requests} PUT/POST",
            ),
            ("requests cost", f"${self.requests_usd:,.4f}"),
            ("transfer between regions", f"${self.between_regions_usd:,.2f}"),
            ("transfer to the internet", f"${self.to_internet_usd:,.2f}"),
            ("prices", PRICES_OF),
        ]


def estimate(counts: Counts, size: int, multipart: int, parts: int, deletes: int) -> Estimate:
    """For `counts.enqueued` objects of `size` bytes in all, of which `multipart` go in `parts` parts."""
    lists = -(-counts.listed // PAGE) + -(-counts.dest_listed // PAGE) + 2
    cost = cost_of(
        size, counts.enqueued, lists=lists, parts=parts, parted=multipart, heads=multipart + deletes
    )
    return Estimate(
        list_requests=lists,
        get_requests=counts.enqueued - multipart + parts + multipart + deletes,
        put_requests=counts.enqueued - multipart + parts + 2 * multipart,
        bytes=size,
        requests_usd=round(cost.requests, 6),
        between_regions_usd=round(size / GIB * REGION_GIB, 4),
        to_internet_usd=round(size / GIB * INTERNET_GIB, 4),
    )
