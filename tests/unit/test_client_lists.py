"""Uploads and versions of one key: all pages of them, and an end where a store repeats itself."""

import re
from collections.abc import Mapping

import pytest

from dth.core.transport import Response
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import FixedCredentials
from dth.objects.store.endpoints import resolve_endpoint
from dth.objects.store.request import Request


class Pages:
    """The requests of a client, answered with these pages of (key, id), in turn."""

    def __init__(self, *pages: list[tuple[str, str]], stuck: bool = False) -> None:
        self.pages = pages
        self.stuck = stuck
        self.queries: list[Mapping[str, str]] = []

    def client(self) -> S3Client:
        client = S3Client(
            None, resolve_endpoint(url="http://127.0.0.1:1"), "b", FixedCredentials(None)
        )  # type: ignore[arg-type]
        client.send = self.send  # type: ignore[method-assign]
        return client

    async def send(self, request: Request) -> Response:
        assert (request.method, request.key) == ("GET", "")
        query = request.query or {}
        self.queries.append(dict(query))
        kind, tag = ("Upload", "Upload") if "uploads" in query else ("Version", "Version")
        at = 0 if self.stuck else min(len(self.queries), len(self.pages)) - 1
        more = self.stuck or at < len(self.pages) - 1
        rows = "".join(
            f"<{tag}><Key>{k}</Key><{kind}Id>{i}</{kind}Id></{tag}>" for k, i in self.pages[at]
        )
        last = self.pages[at][-1] if self.pages[at] else ("", "")
        marks = f"<NextKeyMarker>{last[0]}</NextKeyMarker><Next{kind}IdMarker>{last[1]}</Next{kind}IdMarker>"
        body = f"<L><IsTruncated>{str(more).lower()}</IsTruncated>{marks * more}{rows}</L>"
        return Response(200, {}, [body.encode()])

    async def ids(self, kind: str, key: str) -> list[str]:
        client = self.client()
        if kind == "versions":
            return await client.versions(key)
        return [upload.upload_id for upload in await client.uploads(key)]


@pytest.mark.parametrize("kind", ["uploads", "versions"])
async def test_all_pages_of_a_key_are_read(kind: str) -> None:
    first = [("k", f"{i:04}") for i in range(1000)]
    second = [("k", f"{i:04}") for i in range(1000, 1500)]
    pages = Pages(first, [*second, ("k2", "x")], [("k3", "y")])
    assert await pages.ids(kind, "k") == [f"{i:04}" for i in range(1500)]
    # Behind it there are only longer keys.
    assert len(pages.queries) == 2
    [second_marker] = [
        name for name in pages.queries[1] if re.fullmatch("(upload|version)-id-marker", name)
    ]
    assert (pages.queries[1]["key-marker"], pages.queries[1][second_marker]) == ("k", "0999")


@pytest.mark.parametrize("kind", ["uploads", "versions"])
async def test_a_store_that_repeats_its_marker_comes_to_an_end(kind: str) -> None:
    pages = Pages([("k", "1")], stuck=True)
    assert set(await pages.ids(kind, "k")) == {"1"}
    assert len(pages.queries) == 2


async def test_a_marker_before_the_key_goes_on() -> None:
    assert await Pages([("a", "1")], [("k", "2")]).ids("versions", "k") == ["2"]
