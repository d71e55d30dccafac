"""Registries that do otherwise than the standard says: what the client finds all the same, and what
it says if not."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from dth.core.errors import (
    EndpointRefused,
    ListingFailed,
    ObjectRefused,
    Throttled,
    TransferError,
    Transient,
)
from dth.core.ports.runs import RunKind
from dth.images.listing import OciSource, Selection, list_images
from dth.images.parameters import EcrParameters
from dth.images.processes import _find
from dth.images.registry import pace
from dth.images.registry.address import RegistryAddress
from dth.images.registry.client import Registry
from dth.images.registry.login import ANONYMOUS, FixedLogin, Login, UserPassword
from dth.images.registry.pace import paces_of
from dth.objects.store.credentials import FileSecrets
from dth.platforms.local.platform import open_platform
from tests.servers.odd_registry import IDENTITY, QUIRKS, OddRegistry
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    RegistryServer,
    artifact,
    basic,
    digest_of,
    fallback,
    image,
    layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dth.core.transport import Transport

pytestmark = NEEDED

LAYER = layer("odd", 20_000)
IMAGE = image("odd", [LAYER])
SBOM = artifact("application/spdx+json", b"{}", subject=IMAGE)
TAGS = [f"v{number}" for number in range(7)]
LOGIN = FixedLogin(UserPassword(USER, PASSWORD))


@pytest.fixture(scope="module")
def behind() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        server.push("team/app", "v0", IMAGE)
        server.tag_many("team/app", TAGS[1:], IMAGE)
        server.push("team/bad", "v0", IMAGE)
        server.push("team/secret", "v0", IMAGE)
        server.push("signed/app", "v0", IMAGE)
        server.push("signed/app", "", SBOM)
        server.push("signed/app", *fallback(IMAGE, ("application/spdx+json", SBOM)))
        yield server


class Make(Protocol):
    def __call__(
        self,
        *quirks: str,
        login: Login = ANONYMOUS,
        pushes: bool = False,
        rate: float = 50,
        attempts: int = 3,
    ) -> tuple[Registry, OddRegistry]: ...


@pytest.fixture
def make(transport: Transport, behind: RegistryServer) -> Iterator[Make]:
    made: list[OddRegistry] = []

    def make(
        *quirks: str,
        login: Login = ANONYMOUS,
        pushes: bool = False,
        rate: float = 50,
        attempts: int = 3,
    ) -> tuple[Registry, OddRegistry]:
        odd = OddRegistry(behind, *quirks, rate=rate)
        made.append(odd)
        return Registry(
            transport, RegistryAddress(odd.host), login, pushes=pushes, attempts=attempts
        ), odd

    yield make
    for odd in made:
        odd.close()


def test_every_quirk_is_tried() -> None:
    here = Path(__file__)
    text = here.read_text() + here.with_name("test_ecr_blobs.py").read_text()
    assert [name for name in QUIRKS if f'"{name}"' not in text] == []


# --------------------------------------------------------------------------------------- throttling


@pytest.mark.parametrize("quirk", ["rate-429", "rate-429-seconds", "rate-429-date", "rate-503"])
async def test_one_that_takes_so_many_requests_is_asked_so_many(make: Make, quirk: str) -> None:
    registry, odd = make(quirk)
    found = await asyncio.gather(
        *(registry.head("team/app", TAGS[each % 7]) for each in range(100))
    )
    assert set(found) == {IMAGE.digest}
    assert 0 < odd.refused <= 40


async def test_a_date_is_read_against_the_registrys_own_clock(
    make: Make, transport: Transport
) -> None:
    paces_of(transport).patience = 10
    registry, odd = make("first-429-date")
    begun = time.monotonic()
    assert await registry.head("team/app", "v0")
    assert 0.9 <= time.monotonic() - begun <= 5
    assert odd.refused == 1


async def test_a_time_beyond_all_patience_is_told_at_once(make: Make, transport: Transport) -> None:
    paces_of(transport).patience = pace.LONG_PATIENCE
    registry, odd = make("first-429-year")
    for _ in range(2):
        with pytest.raises(Throttled) as told:
            await registry.head("team/app", "v0")
        assert told.value.retry_after > 7 * 3600
    assert len(odd.asked) == 1


async def test_one_name_that_is_always_refused_does_not_hold_the_others(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pace, "SLOWEST", 50.0)
    registry, odd = make("bad-429")

    async def others() -> None:
        while True:
            assert await registry.head("team/app", "v0")
            await asyncio.sleep(0.01)

    task = asyncio.create_task(others())
    with pytest.raises(Throttled):
        await registry.head("team/bad", "v0")
    assert not task.done()
    task.cancel()
    assert 2 <= odd.refused <= 30


@pytest.mark.parametrize("quirk", ["bad-429", "bad-503"])
async def test_one_thing_that_alone_is_refused_fails_also_when_nothing_else_is_asked_for(
    make: Make, transport: Transport, monkeypatch: pytest.MonkeyPatch, quirk: str
) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pace, "SLOWEST", 50.0)
    monkeypatch.setattr(pace, "GUESS", 50.0)
    paces_of(transport).patience = 3600
    registry, odd = make(quirk)
    with pytest.raises(TransferError):
        await registry.head("team/bad", "v0")
    assert 2 <= odd.refused <= 15


async def test_one_thing_that_alone_asks_to_wait_fails_also_when_nothing_else_is_asked_for(
    make: Make, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 507 speaks of what was to be stored, and not of a limit, though it says when to come
    again."""
    monkeypatch.setattr("dth.images.registry.client.STRIKES", 2)
    paces_of(transport).patience = 3600
    registry, _ = make("bad-507")
    async with asyncio.timeout(30):
        with pytest.raises(TransferError, match="HTTP 507"):
            await registry.head("team/bad", "v0")


async def test_a_registry_that_is_down_is_not_waited_for_as_long_as_one_that_asks_to(
    make: Make, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.images.registry.client.OUTAGE", 0.2)
    paces_of(transport).patience = 3600
    registry, odd = make("rate-503", rate=0.001)
    odd._bucket.left = 0
    with pytest.raises(Transient, match="HTTP 503"):
        await registry.head("team/app", "v0")


async def test_a_run_says_until_when_it_waits(
    make: Make,
    transport: Transport,
    behind: RegistryServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "NOTED", 0.5)
    _, odd = make("first-429-date")
    parameters = EcrParameters.model_validate(
        {
            "source_type": "Registry",
            "src_registry": odd.host,
            "src_list": "SELECTED",
            "src_image_list": "team/app:v0",
            "dest_type": "Registry",
            "dest_registry": behind.host,
        }
    )
    with open_platform(tmp_path, "finder") as platform:
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        await _find(parameters, transport, FileSecrets(tmp_path), platform, run.id)
        planned = await platform.records.get_run(run.id)
    assert planned.counts.same == 1
    assert any(note.startswith(f"{odd.host} asked us to wait: ") for note in planned.notes)
    assert paces_of(transport).patience == pace.LONG_PATIENCE


async def test_both_sides_of_one_registry_share_its_pace(make: Make, transport: Transport) -> None:
    paces_of(transport).patience = 1
    registry, odd = make("first-429-year")
    other = Registry(transport, registry.address, pushes=True)
    with pytest.raises(Throttled):
        await registry.head("team/app", "v0")
    with pytest.raises(Throttled):
        await other.head("team/app", "v0")
    assert len(odd.asked) == 1


# --------------------------------------------------------------------------------------- signing in


@pytest.mark.parametrize("quirk", ["basic", "hides-403", "hides-404", "tokens"])
async def test_v2_is_asked_how_to_sign_in(make: Make, quirk: str) -> None:
    registry, odd = make(quirk, login=LOGIN)
    found = await asyncio.gather(*(registry.head("team/app", tag) for tag in TAGS))
    assert set(found) == {IMAGE.digest}
    assert odd.asked[0] == ("GET", "/v2/")
    assert odd.count("GET", "/v2/") == 1 + (quirk == "tokens") * 0
    assert all(
        signed
        for signed, (_, target) in zip(odd.signed, odd.asked, strict=True)
        if "/v2/team" in target
    )


async def test_nobody_asks_nothing_first(make: Make) -> None:
    registry, odd = make()
    assert await registry.head("team/app", "v0")
    assert [method for method, _ in odd.asked] == ["HEAD"]


async def test_one_repository_that_refuses_does_not_refuse_the_credentials(make: Make) -> None:
    registry, _ = make("one-401", login=LOGIN)
    with pytest.raises(ObjectRefused, match="'dth' has no right to it"):
        await registry.manifest("team/secret", "v0")
    assert await registry.head("team/app", "v0")
    registry, _ = make("tokens-401-scope", login=LOGIN)
    with pytest.raises(ObjectRefused, match="no right to repository:team/secret:pull"):
        await registry.manifest("team/secret", "v0")
    assert await registry.head("team/app", "v0")


@pytest.mark.parametrize("quirk", ["basic", "tokens"])
async def test_wrong_credentials_are_not_sent_again_and_again(make: Make, quirk: str) -> None:
    registry, odd = make(quirk, login=FixedLogin(UserPassword(USER, "wrong")))
    for _ in range(5):
        with pytest.raises(EndpointRefused, match="refuses the credentials of 'dth'"):
            await registry.head("team/app", "v0")
    sent = basic(USER, "wrong")
    assert odd.signed.count(sent) <= 2  # registries lock accounts


async def test_a_repository_that_is_not_there_yet(make: Make) -> None:
    registry, odd = make("tokens-new", login=LOGIN, pushes=True)
    assert await registry.head("team/new", "v0") is None
    assert not await registry.has_blob("team/new", digest_of(LAYER))
    assert ("dth", ["repository:team/new:pull,push"]) in odd.tokens_asked
    refused, _ = make("one-401", login=LOGIN, pushes=True)
    assert await refused.head("team/secret", "v0") is None
    assert not await refused.has_blob("team/secret", digest_of(LAYER))
    source, _ = make("tokens-new", login=LOGIN)
    with pytest.raises(ObjectRefused, match="has no right to it"):
        await source.head("team/new", "v0")


async def test_who_may_only_read_can_compare_at_a_destination(make: Make) -> None:
    registry, odd = make("tokens-read-only", login=LOGIN, pushes=True)
    assert await registry.head("team/app", "v0") == IMAGE.digest
    assert [scopes for _, scopes in odd.tokens_asked] == [
        ["repository:team/app:pull,push"],
        ["repository:team/app:pull"],
    ]


async def test_an_identity_token(make: Make) -> None:
    registry, odd = make("tokens-identity", login=FixedLogin(UserPassword("0000", "", IDENTITY)))
    assert await registry.head("team/app", "v0") == IMAGE.digest
    assert odd.tokens_asked == [("refresh_token", ["repository:team/app:pull"])]
    registry, _ = make("tokens-identity", login=FixedLogin(UserPassword("0000", "", "stale")))
    with pytest.raises(EndpointRefused, match="refuses the credentials of '0000'"):
        await registry.head("team/app", "v0")
    registry, _ = make("basic", login=FixedLogin(UserPassword("0000", "", IDENTITY)))
    with pytest.raises(EndpointRefused, match="is an identity token"):
        await registry.head("team/app", "v0")


async def test_a_token_for_the_registry_itself(make: Make) -> None:
    """It is sent as it is, and the service for tokens is not asked."""
    scopes = json.dumps(["repository:team/app:pull"])
    token = base64.urlsafe_b64encode(scopes.encode()).decode()
    registry, odd = make("tokens", login=FixedLogin(UserPassword("", "", "", token)))
    assert await registry.head("team/app", "v0") == IMAGE.digest
    assert odd.tokens_asked == []
    with pytest.raises(ObjectRefused, match="the token that is kept for it has no right to it"):
        await registry.head("team/bad", "v0")
    registry, _ = make("basic", login=FixedLogin(UserPassword("", "", "", token)))
    with pytest.raises(EndpointRefused, match="what is kept for it is a token"):
        await registry.head("team/app", "v0")


async def test_credentials_go_to_one_place_for_tokens(make: Make) -> None:
    registry, odd = make("realm-moves", login=LOGIN)
    with pytest.raises(EndpointRefused, match="wants our credentials at localhost"):
        await registry.head("team/app", "v0")
    assert len(odd.tokens_asked) == 1


async def test_who_is_redirected_to_does_not_ask_who_we_are(make: Make) -> None:
    registry, odd = make("asks-elsewhere", login=LOGIN)
    with pytest.raises(ObjectRefused, match="HTTP 401"):
        await registry.blob("team/app", digest_of(LAYER))
    assert not any(odd.signed)


@pytest.mark.parametrize("quirk", ["long-challenge", "odd-challenge"])
async def test_a_challenge_that_is_none(make: Make, quirk: str) -> None:
    registry, _ = make(quirk, login=LOGIN)
    begun = time.monotonic()
    with pytest.raises(EndpointRefused):
        await registry.head("team/app", "v0")
    assert time.monotonic() - begun < 2


# --------------------------------------------------------------------------------------------- HEAD


@pytest.mark.parametrize("quirk", ["head-404", "head-405", "head-400", "head-403", "head-bare"])
async def test_what_a_head_does_not_find_is_asked_for_by_get(make: Make, quirk: str) -> None:
    registry, odd = make(quirk)
    for tag in TAGS:
        assert await registry.head("team/app", tag) == IMAGE.digest
    if quirk != "head-bare":
        assert odd.count("HEAD") == 1  # it is found out once
    assert await registry.head("team/app", "none") is None


async def test_a_head_that_has_found_something_is_believed(make: Make) -> None:
    registry, odd = make()
    assert await registry.head("team/app", "none") is None
    assert odd.count("GET") == 1
    assert await registry.head("team/app", "v0")
    assert await registry.head("team/app", "none") is None
    assert odd.count("GET") == 1
    dest, odd = make(pushes=True)
    assert await dest.head("team/app", "none") is None  # a copy too many would be all that it costs
    assert odd.count("GET") == 0


# ----------------------------------------------------------------------------------------- listings


@pytest.mark.parametrize(
    "quirk",
    [
        "pages-100",
        "pages-never",
        "pages-of-2",
        "links-upper",
        "links-comma",
        "links-several",
        "links-plain",
        "links-quotes",
    ],
)
async def test_all_pages(make: Make, quirk: str) -> None:
    registry, odd = make(quirk)
    assert sorted(await registry.tags("team/app") or []) == TAGS
    assert await registry.repositories() == ["signed/app", "team/app", "team/bad", "team/secret"]
    refused = odd.count("GET", "n=1000")
    assert sorted(await registry.tags("team/app") or []) == TAGS
    if quirk.startswith("pages-") and quirk != "pages-of-2":
        assert odd.count("GET", "n=1000") == refused  # what it takes is found out once


@pytest.mark.parametrize(
    ("quirk", "problem"),
    [
        ("endless-names", "lists more than 1,000 names"),
        ("endless-same", "goes in circles"),
        ("endless-empty", "goes in circles"),
        ("links-odd", "where the next page is"),
        ("links-bare", "where the next page is: a Link header has a next page, and no address"),
        ("links-empty", "where the next page is: a Link header has a next page without an address"),
        ("links-long", "where the next page is: a Link header has more than"),
    ],
)
async def test_a_listing_has_an_end(
    make: Make, quirk: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.images.registry.client.MOST_NAMES", 1000)
    monkeypatch.setattr("dth.images.registry.client.MOST_EMPTY", 20)
    registry, odd = make(quirk)
    with pytest.raises(ListingFailed, match=problem):
        await registry.repositories()
    with pytest.raises(ListingFailed, match=problem):
        await registry.tags("team/app")
    assert len(odd.asked) <= 50


async def test_a_listing_of_brackets(make: Make) -> None:
    registry, _ = make("deep-json")
    with pytest.raises(ListingFailed, match="answers a listing with something else"):
        await registry.tags("team/app")
    with pytest.raises(ListingFailed, match="answers a listing with something else"):
        await registry.repositories()


async def test_names_that_are_none_are_left_out_and_told(make: Make) -> None:
    registry, _ = make("odd-names")
    assert await registry.repositories() == ["signed/app", "team/app", "team/bad", "team/secret"]
    assert f"{registry.host}/a b" in registry.odd_names
    assert f"{registry.host}/../../etc/x" in registry.odd_names
    assert sorted(await registry.tags("team/app") or []) == TAGS
    assert f"{registry.host}/team/app:1.0+build" in registry.odd_names
    assert all(len(name) < 400 for name in registry.odd_names)
    [note] = registry.notes
    assert note.startswith(f"left out, because no image can be called so: '{registry.host}/a b', ")
    assert note.endswith(" and 10 more")
    assert "\n" not in note
    listed = await list_images(
        Selection(untagged=False), lambda _: OciSource(registry), registry.host
    )
    assert {image.repository for image in listed.images} == {
        "signed/app",
        "team/app",
        "team/bad",
        "team/secret",
    }
    assert registry.notes[0] in listed.notes


# ---------------------------------------------------------------------------------------- referrers


@pytest.mark.parametrize(
    "quirk", ["referrers-400", "referrers-401", "referrers-403", "referrers-500", "referrers-302"]
)
async def test_a_referrers_api_that_is_not_there(make: Make, quirk: str) -> None:
    registry, odd = make(quirk, attempts=2)
    for _ in range(3):
        found = await registry.referrers("signed/app", IMAGE.digest)
        assert [each.digest for each in found] == [SBOM.digest]
    assert odd.count("GET", "/referrers/") <= 2


async def test_a_list_of_referrers_that_breaks_off_is_no_api_that_is_not_there(make: Make) -> None:
    """What was left behind would be told by nobody."""
    registry, _ = make("referrers-break", attempts=1)
    for _ in range(2):
        with pytest.raises(Transient, match="HTTP 500"):
            await OciSource(registry).attached("signed/app", IMAGE.digest)


@pytest.mark.parametrize("quirk", ["realm-path", "tokens-302"])
async def test_where_tokens_are(make: Make, quirk: str) -> None:
    registry, odd = make(quirk, login=LOGIN)
    assert await registry.head("team/app", "v0") == IMAGE.digest
    assert odd.tokens_asked[0][0] == USER


async def test_where_tokens_are_redirected_to_is_not_told_who_we_are(make: Make) -> None:
    registry, odd = make("tokens-elsewhere", login=LOGIN)
    with pytest.raises(TransferError):
        await registry.head("team/app", "v0")
    assert {user for user, _ in odd.tokens_asked} == {""}
    told = [
        signed
        for signed, host in zip(odd.signed, odd.hosts, strict=True)
        if host.startswith("localhost")
    ]
    assert told
    assert not any(told)


async def test_a_realm_that_is_no_address(make: Make) -> None:
    registry, _ = make("realm-odd", login=LOGIN)
    with pytest.raises(EndpointRefused, match="says in no way where to sign in"):
        await registry.head("team/app", "v0")
