"""Fixtures of the browser tests: the console of a real hub, in headless Chromium, between two real
stores.

Playwright leaves an event loop running in the thread of the tests, so that these are a pytest call
of their own.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dth.hub.model import Role
from tests.e2e.console import PASSWORD, Console
from tests.engine import Side, bodies
from tests.hub import Hub
from tests.servers.proxy import Proxy
from tests.servers.registry import RegistryServer, image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.servers.ministack import MiniStack

HERE = Path(__file__).parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)

PAGES = (
    "/",
    "/tasks",
    "/tasks/create",
    "/tasks/quick",
    "/tasks/TASK",
    *(
        f"/tasks/TASK?tab={tab}"
        for tab in (
            "details",
            "engine",
            "runs",
            "objects",
            "monitoring",
            "logs",
            "events",
            "options",
            "audit",
        )
    ),
    "/tasks/TASK/edit",
    "/tasks/IMAGES",
    *(
        f"/tasks/IMAGES?tab={tab}"
        for tab in ("details", "engine", "runs", "objects", "monitoring", "options")
    ),
    "/tasks/IMAGES/edit",
    "/comparisons",
    "/comparisons/create",
    "/comparisons/create?task=TASK",
    "/comparisons/COMPARISON",
    "/stores",
    "/secrets",
    "/users",
    "/tokens",
    "/channels",
    "/sign-in",
    "/settings",
    "/backups",
    "/audit",
    "/no/such/page",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of this folder alone: pytest asks about all of them."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium: nothing is downloaded."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is missing: apt-get install chromium-headless-shell")
        pytest.skip("Chromium is not installed (Debian: chromium-headless-shell)")
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": arguments}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {
        **browser_context_args,
        "locale": "en-US",
        "timezone_id": "Europe/Berlin",
        "viewport": {"width": 1440, "height": 900},
        "color_scheme": "light",
        "reduced_motion": "reduce",
        "accept_downloads": True,
    }


@pytest.fixture(scope="session")
def e2e_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One hub for all: each test has buckets and tasks of its own."""
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        for role in Role:
            hub.user(f"{role}-user", PASSWORD, role)
        yield hub


@pytest.fixture
def source(s3_a: MiniStack, bucket_a: str) -> Side:
    return Side(s3_a, bucket_a)


@pytest.fixture
def dest(s3_b: MiniStack, bucket_b: str) -> Side:
    return Side(s3_b, bucket_b)


@pytest.fixture
def slow_source(source: Side, proxy_a: Proxy) -> Side:
    """The source behind a proxy, whose rules can slow it down."""
    return Side(proxy_a, source.bucket)


@pytest.fixture
def console(page: Page, e2e_hub: Hub) -> Iterator[Console]:
    """The console, signed in as an administrator. Whatever the browser complains of fails the
    test."""
    console = Console(page, e2e_hub)
    console.sign_in("admin-user")
    yield console
    assert console.problems == []


@pytest.fixture
def newcomer(
    browser: Browser, browser_context_args: dict[str, Any], e2e_hub: Hub
) -> Iterator[Console]:
    """The console before anybody signed in."""
    context = browser.new_context(**browser_context_args)
    console = Console(context.new_page(), e2e_hub)
    yield console
    context.close()
    assert console.problems == []


@pytest.fixture(scope="session")
def pages(e2e_hub: Hub, s3_a: MiniStack, s3_b: MiniStack) -> Iterator[list[str]]:
    """Paths, with tasks that have something to show: objects, images. Tests only look at them."""
    source, dest = Side(s3_a, s3_a.bucket("shown")), Side(s3_b, s3_b.bucket("shown"))
    source.put(bodies("ab"))
    task = e2e_hub.create(source, dest, description="For every page")
    with RegistryServer() as here, RegistryServer() as there:
        for tag in ("v1", "v2"):
            here.push("team/api", tag, image(tag, [layer("every-page", 1000)]))
        images = e2e_hub.create_images(
            sourceType="Registry",
            srcRegistry=here.host,
            srcImageList="team/api:v1,team/api:v2",
            destType="Registry",
            destRegistry=there.host,
        )
        e2e_hub.wait(task, "DONE")
        e2e_hub.wait(images, "DONE")
        compared = e2e_hub.call("mutation ($task: ID) { compare(task: $task) { id } }", task=task)[
            "id"
        ]
        names = {"TASK": task, "IMAGES": images, "COMPARISON": compared}
        yield [re.sub(r"[A-Z]{4,}", lambda name: names[name[0]], path) for path in PAGES]
