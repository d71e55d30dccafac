"""Deploying where tools are missing: one line says which, and what to do."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from typing import Any

import pytest

from dth.core.errors import StateError
from dth.infra import bundle, image


class NoImages:
    """A session with boto3 of an account without images."""

    def client(self, service: str) -> Any:
        return self


@pytest.mark.parametrize(
    ("here", "line"),
    [
        ((), "apt-get and skopeo are not here"),
        (("skopeo",), "apt-get is not here"),
        (("apt-get",), "skopeo is not here"),
    ],
)
def test_an_image_needs_tools_or_is_given(
    monkeypatch: pytest.MonkeyPatch, here: tuple[str, ...], line: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: tool if tool in here else None)
    monkeypatch.setattr(image, "_repository", lambda ecr, say: "host/data-transfer-hub")
    monkeypatch.setattr(image, "_is_there", lambda ecr, tag: False)
    with pytest.raises(StateError) as refused:
        image.publish_images(NoImages(), "1.0-ab", lambda text: None)
    assert line in str(refused.value)
    assert "-p taskImage=URI" in str(refused.value)
    assert "-p taskImage= for none" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_image_that_is_there_needs_no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    monkeypatch.setattr(image, "_repository", lambda ecr, say: "host/data-transfer-hub")
    monkeypatch.setattr(image, "_is_there", lambda ecr, tag: True)
    assert (
        image.publish_images(NoImages(), "1.0-ab", lambda text: None)
        == "host/data-transfer-hub:1.0-ab"
    )


def test_packages_are_fetched_without_pip_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bundle._pip() == (sys.executable, "-m", "pip")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", {"uv": "/bin/uv"}.get)
    assert bundle._pip() == ("/bin/uv", "tool", "run", "pip")
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(StateError, match=r"not in this environment: \S+ -m ensurepip"):
        bundle._pip()
