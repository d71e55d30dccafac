"""What a transfer will ask of both stores and cost, by a table of list prices."""

from dataclasses import asdict, dataclass

from dth.platforms.ports import Counts

PRICES_OF = "2026-11, Amazon S3 Standard, us-east-1, list prices in USD"
GET_PRICE = 0.0004 / 1000
PUT_PRICE = 0.005 / 1000  # PUT, COPY, POST, LIST
INTERNET_GIB = 0.09  # out of AWS to the internet, first tier
REGION_GIB = 0.02  # between AWS regions
PAGE = 1000


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
    gets = counts.enqueued - multipart + parts + multipart + deletes
    puts = counts.enqueued - multipart + parts + 2 * multipart
    gib = size / 1024**3
    return Estimate(
        list_requests=lists,
        get_requests=gets,
        put_requests=puts,
        bytes=size,
        requests_usd=round(gets * GET_PRICE + (puts + lists) * PUT_PRICE, 6),
        between_regions_usd=round(gib * REGION_GIB, 4),
        to_internet_usd=round(gib * INTERNET_GIB, 4),
    )
