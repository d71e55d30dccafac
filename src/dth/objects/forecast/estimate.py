"""What a transfer requests from both stores, and what it costs. AWS prices come from one table of
list prices, other prices from the administrator's settings. If a store's prices are unknown, no
cost is given.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

from dth.core.ports.runs import Counts
from dth.core.prices import Prices
from dth.objects.parameters import S3Parameters, StorageClass
from dth.objects.store.endpoints import Endpoint
from dth.objects.task import resolve_endpoints

PRICES_OF = "2026-11, Amazon S3 Standard, us-east-1, list prices in USD"
GET_PRICE = 0.0004 / 1000  # GET, HEAD
PUT_PRICE = 0.005 / 1000  # PUT, COPY, POST, LIST
# The price of a PUT directly into another storage class.
CLASS_PUT_PRICES: dict[str, float] = {
    StorageClass.STANDARD_IA: 0.01 / 1000,
    StorageClass.ONEZONE_IA: 0.01 / 1000,
    StorageClass.GLACIER_IR: 0.02 / 1000,
    StorageClass.GLACIER: 0.03 / 1000,
    StorageClass.DEEP_ARCHIVE: 0.05 / 1000,
}
INTERNET_GIB = 0.09  # out of AWS to the internet, first tier
REGION_GIB = 0.02  # between AWS regions
# The regions of AWS whose prices are not in USD.
OTHER_CURRENCY = ("cn-",)
TOLD = "as the administrator says"
PAGE = 1000
GIB = 1024**3


class Way(StrEnum):
    """Where the bytes go, as far as it determines their price."""

    SAME_REGION = "same region"
    BETWEEN_REGIONS = "between regions"
    TO_INTERNET = "to the internet"
    FROM_ELSEWHERE = "from outside AWS"


def way(source: Endpoint, dest: Endpoint) -> Way:
    """From store to store, with workers located next to one of them."""
    if not source.is_aws:
        return Way.FROM_ELSEWHERE
    if not dest.is_aws:
        return Way.TO_INTERNET
    return Way.SAME_REGION if source.region == dest.region else Way.BETWEEN_REGIONS


@dataclass(frozen=True, slots=True)
class Charge:
    """One store's prices in USD: per GET or HEAD, per other request, and per GiB that is read from
    the store."""

    get: float
    put: float
    gib: float = 0.0


@dataclass(frozen=True, slots=True)
class Tariff:
    """The prices of both stores of a task. `dearer`: what a PUT directly into the storage class
    costs in addition to Standard. `prices`: where the prices come from."""

    source: Charge
    dest: Charge
    dearer: float
    prices: str


def unpriced(source: Endpoint, dest: Endpoint, prices: Prices) -> list[str]:
    """The hosts of the stores whose prices are unknown."""
    unknown = [each.host for each in (source, dest) if _charge(each, prices) is None]
    return list(dict.fromkeys(unknown))


def tariff_of(
    source: Endpoint, dest: Endpoint, prices: Prices, storage_class: str | None = None
) -> Tariff | None:
    """The prices for a task; None if the prices of a store are unknown."""
    here, there = _charge(source, prices), _charge(dest, prices)
    if here is None or there is None:
        return None
    if source.is_aws and dest.is_aws and source.region == dest.region:
        here = replace(here, gib=0.0)
    elif source.is_aws and dest.is_aws:
        here = replace(here, gib=REGION_GIB)
    dearer = (
        CLASS_PUT_PRICES.get(storage_class or "", PUT_PRICE) - PUT_PRICE if dest.is_aws else 0.0
    )
    told = dict.fromkeys(
        PRICES_OF if each.is_aws else f"{each.host}: {TOLD}"
        for each in (source, dest)
        if not each.is_folder
    )
    return Tariff(here, there, dearer, "; ".join(told))


def _charge(endpoint: Endpoint, prices: Prices) -> Charge | None:
    """The prices of one store; None if unknown. The administrator's settings take precedence over
    the list prices."""
    if endpoint.is_folder:
        return Charge(0.0, 0.0)
    for host in (urlsplit(url).netloc.lower() for url in endpoint.urls):
        if host in prices:
            told = prices[host]
            return Charge(told.requests / 1000, told.requests / 1000, told.gb * GIB / 1e9)
    if endpoint.is_aws and not endpoint.region.startswith(OTHER_CURRENCY):
        return Charge(GET_PRICE, PUT_PRICE, INTERNET_GIB)
    return None


@dataclass(frozen=True, slots=True)
class PriceEstimate:
    """A cost in USD. `storage_class`: what writing directly into the class costs in addition to
    Standard."""

    requests: float
    storage_class: float
    transfer: float

    @property
    def total(self) -> float:
        """US dollars for everything."""
        return self.requests + self.storage_class + self.transfer


def cost_of(
    tariff: Tariff,
    size: float,
    objects: float,
    *,
    lists: float = 0,
    dest_lists: float = 0,
    parts: float = 0,
    parted: float = 0,
    heads: float = 0,
) -> PriceEstimate:
    """The cost of moving `objects` objects with `size` bytes in total, of which `parted` are sent
    in `parts` parts. It includes `lists` pages of the source's listing, `dest_lists` of the
    destination's, and `heads` HEADs there."""
    gets = objects - parted + parts
    puts = objects - parted + parts + 2 * parted
    return PriceEstimate(
        requests=gets * tariff.source.get
        + lists * tariff.source.put
        + heads * tariff.dest.get
        + (puts + dest_lists) * tariff.dest.put,
        storage_class=puts * tariff.dearer,
        transfer=size / GIB * tariff.source.gib,
    )


def spent(parameters: S3Parameters, runs: Sequence[Counts], prices: Prices) -> float | None:
    """The cost of runs so far in USD; None if the prices of a store are unknown. Ledgers do not say
    which objects were sent in parts, so all bytes count as if they were. For small objects, this
    adds nearly nothing."""
    tariff = tariff_of(*resolve_endpoints(parameters), prices, parameters.dest_storage_class)
    if tariff is None:
        return None
    return sum(
        cost_of(
            tariff,
            counts.done_bytes,
            counts.done + counts.failed,
            lists=-(-counts.listed // PAGE),
            dest_lists=-(-counts.dest_listed // PAGE),
            parts=counts.done_bytes / parameters.part_size,
            heads=counts.unproven + counts.deleted + counts.delete_kept,
        ).total
        for counts in runs
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests, bytes and costs of a transfer. Costs are None if the prices of a store are
    unknown."""

    list_requests: int
    get_requests: int
    put_requests: int
    bytes: int
    requests_usd: float | None
    between_regions_usd: float | None
    to_internet_usd: float | None
    prices: str

    def as_dict(self) -> dict[str, float | str | None]:
        """The estimate as JSON can hold it."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """What is estimated and how much, as a table for people. Costs are in US dollars."""
        asked = (
            f"{self.list_requests} LIST, {self.get_requests} GET/HEAD, {self.put_requests} PUT/POST"
        )
        costs = (
            ("requests cost", self.requests_usd, ",.4f"),
            ("transfer between regions", self.between_regions_usd, ",.2f"),
            ("transfer to the internet", self.to_internet_usd, ",.2f"),
        )
        return [
            ("requests", asked),
            *((name, f"${usd:{form}}") for name, usd, form in costs if usd is not None),
            ("prices", self.prices),
        ]


def estimate(
    source: Endpoint,
    dest: Endpoint,
    counts: Counts,
    size: int,
    multipart: int,
    parts: int,
    deletes: int,
) -> Estimate:
    """The estimate for `counts.enqueued` objects with `size` bytes in total, of which `multipart`
    are sent in `parts` parts."""
    lists, dest_lists = -(-counts.listed // PAGE) + 1, -(-counts.dest_listed // PAGE) + 1
    tariff = tariff_of(source, dest, {})
    cost = tariff and cost_of(
        tariff,
        size,
        counts.enqueued,
        lists=lists,
        dest_lists=dest_lists,
        parts=parts,
        parted=multipart,
        heads=multipart + deletes,
    )
    return Estimate(
        list_requests=lists + dest_lists,
        get_requests=counts.enqueued - multipart + parts + multipart + deletes,
        put_requests=counts.enqueued - multipart + parts + 2 * multipart,
        bytes=size,
        requests_usd=round(cost.requests, 6) if cost else None,
        between_regions_usd=round(size / GIB * REGION_GIB, 4) if cost else None,
        to_internet_usd=round(size / GIB * INTERNET_GIB, 4) if cost else None,
        prices=tariff.prices if tariff else no_prices(unpriced(source, dest, {})),
    )


def no_prices(hosts: Sequence[str]) -> str:
    """The line for people that says why there is no cost."""
    return f"no prices are known for {' and '.join(hosts)}"
