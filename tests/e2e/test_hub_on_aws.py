"""A hub that was deployed on an emulated AWS, in a browser: its console behind CloudFront, the
sign-in at its user pool, and `dth login`. The emulator serves the pages of the pool, which look
otherwise than Cognito's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from dth.infra.bundle import write_console
from tests.aws.emulator.edge import Edge
from tests.aws.emulator.machines import Machines
from tests.aws.emulator.region import Region
from tests.aws.hub import ADMIN, PASSWORD, Hub, deploy_hub, stacks
from tests.aws.task import make_stores
from tests.e2e.console import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserType, Page


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Region() as emulated:
        emulated.publish()
        yield emulated


@pytest.fixture(scope="module")
def hub(
    region: Region, templates: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("aws")
    console, log = folder / "console.zip", folder / "machines.log"
    write_console(console)
    log.touch()
    with Machines(region, log):
        yield deploy_hub(region, templates, console.read_bytes())


@pytest.fixture(scope="module")
def edge(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(hub.stack, tmp_path_factory.mktemp("edge")) as standing:
        yield standing


@pytest.fixture
def page(
    edge: Edge,
    browser_type: BrowserType,
    browser_type_launch_args: dict[str, Any],
    browser_context_args: dict[str, Any],
) -> Iterator[Page]:
    """Of a browser that reaches AWS by the edge. Whatever it complains of fails the test."""
    problems: list[str] = []
    arguments = [*browser_type_launch_args["args"], "--ignore-certificate-errors"]
    browser: Browser = browser_type.launch(
        **{**browser_type_launch_args, "args": arguments},
        proxy={"server": edge.url, "bypass": "127.0.0.1"},
    )
    context = browser.new_context(**browser_context_args)
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda said: (
            said.type in ("error", "warning") and problems.append(f"{said.text} {said.location}")
        ),
    )
    yield page
    browser.close()
    assert problems == []


def sign_in(page: Page) -> None:
    """At the pool's pages."""
    page.locator("input[name=username]").fill(ADMIN)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("[type=submit]").first.click()


def open_page(page: Page, hub: Hub, path: str) -> None:
    page.goto(f"{hub.stack.outputs['Url']}{path}")
    page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_load_state("networkidle")


def test_a_task_is_watched_and_stopped_in_the_console(page: Page, hub: Hub, region: Region) -> None:
    given = make_stores(region)
    region.boto("s3").put_object(Bucket="source", Key="one", Body=b"1")
    task = hub.create("FIXED_RATE", **given)
    page.goto(f"{hub.stack.outputs['Url']}/tasks?text={task}")
    sign_in(page)
    expect(page.get_by_role("button", name=ADMIN)).to_be_visible()
    expect(page).to_have_url(re.compile(rf"/tasks\?text={task}$"))
    expect(page.locator(f"a[href='/tasks/{task}']")).to_be_visible()
    hub.wait_for(task, lambda found: found["progressInfo"]["replicated"] == 1)

    open_page(page, hub, f"/tasks/{task}?tab=engine")
    expect(page.get_by_text("CREATE_COMPLETE")).to_be_visible()
    open_page(page, hub, f"/tasks/{task}?tab=logs")
    expect(page.get_by_role("log").get_by_text("machine/").first).to_be_visible()
    open_page(page, hub, "/users")
    expect(page.get_by_text("Administrator", exact=True)).to_be_visible()

    open_page(page, hub, f"/tasks/{task}")
    page.get_by_role("button", name="Actions", exact=True).click()
    page.get_by_role("menuitem", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped", exact=True).first).to_be_visible(timeout=60_000)
    assert stacks(region) == ["dth"]

    page.get_by_role("button", name=ADMIN).click()
    with page.expect_request(re.compile(r"amazoncognito\.com/logout\?.*logout_uri=")):
        page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()


def test_the_command_line_signs_in_by_a_browser(
    page: Page, hub: Hub, edge: Edge, tmp_path: Path
) -> None:
    dth = str(Path(sys.executable).with_name("dth"))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "https_proxy": edge.url,
        "DTH_CA_BUNDLE": str(edge.ca),
    }
    command = [dth, "login", "--hub", hub.stack.outputs["Url"]]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as login:
        assert login.stderr
        address = next(line.strip() for line in login.stderr if "https://" in line)
        page.goto(address)
        sign_in(page)
        expect(page.get_by_text("Back to the terminal.")).to_be_visible()
        assert login.stderr.read().strip() == f"signed in at {hub.stack.outputs['Url']}"
    assert login.returncode == 0
    ran = subprocess.run(
        [dth, "user", "list"], env=env, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ADMIN in ran.stdout) == (0, True), ran.stderr
