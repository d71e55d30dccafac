"""What the tests of the images share."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

import pytest

from dth.infra.base import make_base
from dth.infra.oci import LayerCache
from tests.conftest import made_once


@pytest.fixture(scope="session")
def image_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layers that all images for this machine share."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            make_base(platform.machine(), LayerCache(folder), Path(scratch))

    return made_once(tmp_path_factory, "image-layers", make)
