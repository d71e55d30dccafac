"""Comparing two long listings from a canned server: keys a second of CPU, and memory that stays
flat."""

from bench.measure import CREDENTIALS, Cost, dth, run
from tests.servers.listing_server import ListingServer


def compare(count: int) -> Cost:
    """`dth s3 diff` of `count` keys against the same ones."""
    with ListingServer(count) as source, ListingServer(count) as dest:
        return run(
            dth(
                "s3", "diff", "s3://src", "s3://dst", "--src-endpoint-url", source.url,
                "--dst-endpoint-url", dest.url, "--src-anonymous",
            ),
            **CREDENTIALS,
        )  # fmt: skip
