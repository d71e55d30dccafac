"""Tasks for images in a hub: real registries, real skopeo, a hub as a process of its own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.hub import Hub
from tests.servers.registry import (
    PASSWORD,
    USER,
    RegistryServer,
    artifact,
    fallback,
    image,
    index,
    layer,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not shutil.which("skopeo") or not shutil.which("docker-registry"),
    reason="skopeo or docker-registry is not installed",
)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path) as hub:
        hub.keep_secret("login", username=USER, password=PASSWORD)
        yield hub


@pytest.fixture
def here() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        yield server


@pytest.fixture
def there() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        yield server


def between(here: RegistryServer, there: RegistryServer, **more: str) -> dict[str, str]:
    """The parameters of a task from one registry to another."""
    return {
        "sourceType": "Registry",
        "srcRegistry": here.host,
        "srcCredential": "login",
        "destType": "Registry",
        "destRegistry": there.host,
        "destCredential": "login",
        **more,
    }


def test_a_task_copies_every_image_and_tells_of_each(
    hub: Hub, here: RegistryServer, there: RegistryServer
) -> None:
    base = layer("hub-base", 300_000)
    for name in "abc":
        here.push(f"team/{name}", "v1", image(name, [base, layer(f"hub-{name}", 10_000)]))
    both = index(image("x", [base]), image("y", [layer("hub-arm", 20_000)], architecture="arm64"))
    here.push("team/both", "v1", both)
    here.push("team/both", *signature(both))
    sbom = artifact("application/spdx+json", b"{}", subject=both)
    here.push("team/both", "", sbom)
    here.push("team/both", *fallback(both, ("application/spdx+json", sbom)))
    task = hub.create_images(**between(here, there, destPrefix="mirror"))
    done = hub.wait(task, "DONE")
    (run,) = hub.runs(task)
    counts = run["counts"]
    assert (counts["listed"], counts["enqueued"], counts["done"], counts["failed"]) == (7, 7, 7, 0)
    images = hub.images(task)
    assert set(images) >= {f"mirror/team/{name}:v1" for name in ("a", "b", "c", "both")}
    for key, each in images.items():
        repository, _, pointer = key.partition(":" if "@" not in key else "@")
        assert there.digest(repository, pointer) == each["sourceDigest"] == each["destDigest"]
        assert (each["status"], each["attempts"]) == ("DONE", 1)
        assert each["endedAt"]
    # The layer that four share crossed once.
    assert sum(each["moved"] for each in images.values()) < 300_000 + 3 * 12_000 + 23_000 + 10_000
    assert sum(each["skipped"] for each in images.values()) >= 3 * 300_000
    assert (done["source"], done["destination"]) == (here.host, f"{there.host}/mirror")
    assert done["progressInfo"]["replicated"] == 7
