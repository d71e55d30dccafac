"""A comparison of a hub over two long listings: its rate, and the memory of its process."""

import tempfile
import time
from pathlib import Path

import psutil

from bench.measure import Cost
from tests.hub import Hub
from tests.servers.listing_server import Differences, ListingServer

COMPARE = 'mutation ($i: CreateTaskInput!) { compare(input: $i, policy: "etag") { id } }'
GET = "query ($id: ID!) { getComparison(id: $id) { state error counts { state objects } } }"
# One object in fifty is missing or different, or only at the destination.
SOME = Differences(missing_every=100, changed_every=200, extra_every=200)


def compare(count: int) -> Cost:
    """Compare `count` keys, of which two per cent differ. `rate`: objects per second."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ListingServer(count, folders=True) as source,
        ListingServer(count, folders=True, differences=SOME) as dest,
        Hub(Path(folder)) as hub,
    ):
        hub.keep_secret("keys", access_key_id="a", secret_access_key="b")
        given = {
            "srcBucket": "src",
            "srcEndpoint": source.url,
            "srcCredentials": "keys",
            "destBucket": "dst",
            "destEndpoint": dest.url,
            "destCredentials": "keys",
        }
        pairs = [{"ParameterKey": name, "ParameterValue": each} for name, each in given.items()]
        started, peak = time.monotonic(), 0
        made = hub.call(COMPARE, i={"type": "S3EC2", "parameters": pairs})["id"]
        while (found := hub.call(GET, id=made))["state"] == "RUNNING":
            for pid in hub.processes("dth-compare"):
                try:
                    peak = max(peak, psutil.Process(pid).memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(0.1)
        wall = time.monotonic() - started
        if found["state"] != "DONE":
            raise RuntimeError(f"the comparison is {found['state']}: {found['error']}")
        seen = sum(each["objects"] for each in found["counts"])
        return Cost(wall, 0.0, peak, rate=seen / wall)
