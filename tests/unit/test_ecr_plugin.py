"""What the hub asks the plugin for images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core import redrive
from dth.core.errors import UsageError
from dth.core.plugins import plugin as find
from dth.core.ports.images import ImageRecord
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.ports.status import Status
from dth.hub.parameters import read_parameters
from dth.images import plugin
from dth.images.items import ImageAction, ImageItem, Plan
from dth.images.messages import decode
from dth.images.parameters import EcrParameters
from dth.images.plugin import PLUGIN
from dth.images.preview import shown
from dth.images.registry.reference import Reference
from dth.platforms.local.platform import LocalPlatform, open_platform
from tests.redriving import redrive_failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REGISTRIES = {
    "sourceType": "Registry",
    "srcRegistry": "quay.io",
    "destType": "Registry",
    "destRegistry": "x.y",
}
AMAZON = {"srcRegion": "eu-west-1", "destRegion": "us-east-1"}


def task(**values: Any) -> EcrParameters:
    return EcrParameters.model_validate(values, by_alias=True, by_name=False)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    with open_platform(tmp_path, "test") as opened:
        yield opened


def test_the_hub_finds_it() -> None:
    found = find("ECR")
    assert found.type == "ECR"
    parameters = read_parameters("ECR", {**AMAZON, "platforms": "linux/amd64\nlinux/arm64"})
    assert parameters.platforms == ("linux/amd64", "linux/arm64")
    assert found.capacity(parameters).max_capacity == 1
    assert found.bandwidth(parameters) == ("", None)
    assert found.budget(parameters) is None
    assert not found.follows_events(parameters)
    assert not found.deletes(parameters)
    assert find("ECR").conflict(parameters, parameters) == ""
    with pytest.raises(UsageError):
        found.read_notification(b"{}")


@pytest.mark.parametrize(
    ("values", "source", "destination"),
    [
        (REGISTRIES, "quay.io", "x.y"),
        ({**REGISTRIES, "srcRegistry": "", "destPrefix": "/mirror/"}, "docker.io", "x.y/mirror"),
        (AMAZON, "Amazon ECR eu-west-1", "Amazon ECR us-east-1"),
        (
            {**AMAZON, "srcAccountId": "123456789012", "destPrefix": "a/b"},
            "Amazon ECR 123456789012 eu-west-1",
            "Amazon ECR us-east-1/a/b",
        ),
        (
            {
                **REGISTRIES,
                "srcRegistry": "",
                "sourceType": "Public",
                "srcList": "SELECTED",
                "srcImageList": "nginx",
            },
            "public registries",
            "x.y",
        ),
    ],
)
def test_where_images_come_from_and_go_to(
    values: dict[str, str], source: str, destination: str
) -> None:
    way = PLUGIN.ends(task(**values))
    assert (way.source, way.destination) == (source, destination)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "srcRegion: it has to be given"),
        ({"srcRegion": "eu-west-1"}, "destRegion: it has to be given"),
        ({**REGISTRIES, "destRegistry": ""}, "destRegistry: it has to be given"),
        (
            {**REGISTRIES, "destRegistry": "quay.io"},
            "destPrefix: source and destination are one registry",
        ),
        ({**AMAZON, "srcEndpoint": "http://["}, r"srcEndpoint: 'http://\[' is not http"),
        (
            {**AMAZON, "destEndpoint": "ecr.example.com"},
            "destEndpoint: 'ecr.example.com' is not http",
        ),
        ({**AMAZON, "destEndpoint": "https://u:pw@h"}, "destEndpoint: it holds credentials"),
        (
            {**AMAZON, "destRegion": "eu-west-1"},
            "destPrefix: source and destination are one registry",
        ),
    ],
)
def test_what_cannot_be(values: dict[str, str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        PLUGIN.check(task(**values))


def test_what_can_be() -> None:
    PLUGIN.check(task(**REGISTRIES))
    PLUGIN.check(task(**REGISTRIES | {"destRegistry": "quay.io", "destPrefix": "mirror"}))
    PLUGIN.check(task(**AMAZON | {"destRegion": "eu-west-1", "destAccountId": "123456789012"}))


def test_what_it_costs() -> None:
    runs = [Counts(done_bytes=plugin.GIB), Counts(done_bytes=2 * plugin.GIB)]
    assert PLUGIN.spent(task(**REGISTRIES), runs, {}) is None
    assert PLUGIN.spent(task(**AMAZON), runs, {}) == pytest.approx(0.06)
    assert PLUGIN.spent(task(**AMAZON | {"destRegion": "eu-west-1"}), runs, {}) == 0
    out = {"srcRegion": "eu-west-1", "destType": "Registry", "destRegistry": "x.y"}
    assert PLUGIN.spent(task(**out), runs, {}) == pytest.approx(0.27)


async def fail(platform: LocalPlatform, *keys: str, reason: str = "DENIED") -> int:
    run, _ = await platform.records.begin_run(RunKind.SYNC)
    images = [
        ImageRecord(
            key, run.id, f"quay.io/{key.partition('/')[2]}", Status.FAILED, about="sha256:1"
        )
        for key in keys
    ]
    await platform.images.write(images)
    page = Page(
        Counts(listed=len(keys)),
        enqueued=[Enqueued(key, 5, "sha256:0", "") for key in keys],
        settled=[Outcome(key, run.id, Status.FAILED, reason=reason) for key in keys],
    )
    await platform.records.commit(run.id, page)
    await platform.records.set_run(run.id, RunState.DONE)
    return run.id


async def test_what_failed_is_sent_again_once(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive, "BATCH", 2)
    keys = [f"mirror/team/app:v{number}" for number in range(5)]
    await fail(platform, *keys)
    parameters = task(**REGISTRIES, destPrefix="mirror")
    assert await redrive_failed(PLUGIN, platform, parameters) == 5
    assert await redrive_failed(PLUGIN, platform, parameters) == 0
    (again, _) = await platform.records.list_runs()
    assert (again.kind, again.state) == (RunKind.REDRIVE, RunState.TRANSFERRING)
    assert (again.counts.listed, again.counts.enqueued) == (5, 5)
    orders = [decode(each.body) for each in await platform.queue.receive(10, 1.0, 0.0)]
    assert [order.key for order in orders] == keys
    assert {(order.run, order.digest, order.about) for order in orders} == {
        (again.id, "", "sha256:1")
    }
    assert str(orders[0].source) == "quay.io/team/app:v0"
    assert {each.status for each in await platform.images.page(again.id)} == {Status.PENDING}


async def test_only_what_is_named_or_of_one_reason(platform: LocalPlatform) -> None:
    await fail(platform, "m/a:v1", "m/b:v1")
    await fail(platform, "m/c:v1", reason="IMMUTABLE")
    parameters = task(**REGISTRIES)
    assert await redrive_failed(PLUGIN, platform, parameters, reason="none") == 0
    assert len(await platform.records.list_runs()) == 2  # for nothing no run is begun
    assert await redrive_failed(PLUGIN, platform, parameters, keys=["m/b:v1", "m/none:v1"]) == 1
    assert await redrive_failed(PLUGIN, platform, parameters, reason="IMMUTABLE") == 1
    assert await redrive_failed(PLUGIN, platform, parameters, reason="DENIED") == 1


async def test_a_hub_that_dies_while_it_sends_again_loses_nothing(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive, "BATCH", 2)
    await fail(platform, *(f"m/app:v{number}" for number in range(5)))
    parameters = task(**REGISTRIES)
    commit, done = platform.records.commit, 0

    async def die(run: int, page: Page) -> None:
        nonlocal done
        done += 1
        # The first says what is to be sent.
        if done == 3:
            raise KeyboardInterrupt
        await commit(run, page)

    monkeypatch.setattr(type(platform.records), "commit", lambda _, run, page: die(run, page))
    with pytest.raises(KeyboardInterrupt):
        await redrive_failed(PLUGIN, platform, parameters)
    assert await redrive_failed(PLUGIN, platform, parameters) == 3
    (again, _) = await platform.records.list_runs()
    assert (again.counts.listed, again.counts.enqueued) == (5, 5)
    assert len(await platform.queue.receive(10, 1.0, 0.0)) == 5


def test_a_preview_leaves_out_what_stays_as_it_is() -> None:
    """However much of it there is: what needs an eye is to be seen."""

    def item(n: int, action: ImageAction) -> ImageItem:
        reference = Reference("here", "app", f"{n:04}")
        return ImageItem(reference, replace(reference, registry="there"), action)

    items = [*(item(n, ImageAction.SAME) for n in range(600)), item(600, ImageAction.CONFLICT)]
    found = shown(Plan(items, []))
    assert [each["action"] for each in found["items"]] == ["conflict"]
    assert (found["more"], found["counts"]["same"]) == (0, 600)
    many = shown(Plan([item(n, ImageAction.COPY) for n in range(600)], []))
    assert (len(many["items"]), many["more"]) == (500, 100)
