"""What the tests of the images share."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dth.infra import hub_image
from dth.infra.base import make_base
from dth.infra.oci import LayerCache
from tests.conftest import made_once
from tests.servers.podman import Podman, skip_without_podman

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def image_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layers that all images for this machine share."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            make_base(platform.machine(), LayerCache(folder), Path(scratch))

    return made_once(tmp_path_factory, "image-layers", make)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, image_layers: Path) -> Path:
    """The folder with the image of a hub for this machine."""
    return made_once(
        tmp_path_factory,
        "hub-image",
        lambda folder: hub_image.make_image(folder, [platform.machine()], image_layers),
    )


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """Tests that use it are of the xdist group "podman", so that one process starts it."""
    skip_without_podman()
    with Podman() as containers:
        yield containers


@pytest.fixture
def image(podman: Podman, made: Path) -> str:
    """The image of a hub, in podman's storage."""
    return podman.run("pull", "--quiet", f"oci:{made / 'oci'}").strip()
