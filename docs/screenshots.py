"""Takes the pictures of the console that the pages show: `python -m docs.screenshots`.

They are of the real console of a real hub with tasks between two real stores. `--looks` takes every
page in every look (light, dark, narrow, wide, Chinese) instead, for whoever changed one; `--page
NAME` only that page.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from dth.hub.model import Role
from tests.e2e.conftest import CHROMIUM
from tests.e2e.console import PASSWORD, Console
from tests.engine import Side
from tests.hub import Hub
from tests.servers.ministack import MiniStack
from tests.servers.proxy import Proxy, Reply

IMAGES = Path(__file__).parent / "images"


@dataclass(frozen=True)
class Look:
    width: int = 1440
    height: int = 900
    dark: bool = False
    language: str = "en"


LOOKS = {
    "light": Look(),
    "dark": Look(dark=True),
    "narrow": Look(width=390, height=844),
    "wide": Look(width=2560, height=1440),
    "chinese": Look(language="zh"),
}


def pages(tasks: dict[str, str]) -> dict[str, str]:
    """Name of each picture and the path of its page."""
    moving, failed = f"/tasks/{tasks['moving']}", f"/tasks/{tasks['failed']}"
    tabs = (
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
    return {
        "home": "/",
        "tasks": "/tasks",
        "create": "/tasks/create",
        "task-overview": moving,
        "task-failed": failed,
        **{f"task-{tab}": f"{failed if tab == 'objects' else moving}?tab={tab}" for tab in tabs},
        "edit": f"{failed}/edit",
        **{
            page: f"/{page}"
            for page in ("secrets", "users", "tokens", "channels", "settings", "backups", "audit")
        },
    }


SHOWN = (
    "create",
    "task-failed",
    "task-objects",
    "home",
    "task-overview",
    "tasks",
    "task-monitoring",
)


@contextmanager
def furnished(folder: Path) -> Iterator[tuple[Hub, dict[str, str]]]:
    """A hub with tasks that are through, in progress, and in trouble."""
    with ExitStack() as stack:
        here, there = (stack.enter_context(MiniStack()) for _ in range(2))
        refusing = stack.enter_context(Proxy(there))
        hub = stack.enter_context(Hub(folder))
        hub.user("alex", PASSWORD, Role.ADMIN)
        source = Side(here, here.bucket("media-archive"))
        source.put({f"photos/2026/{n:04}.jpg": bytes(150_000) for n in range(400)})
        dest = [Side(there, there.bucket(f"replica-{n}")) for n in range(5)]
        refused = Side(refusing, dest[1].bucket)
        refusing.rule(Reply(403, "AccessDenied", "Access Denied"), key="photos/2026/00[0-4]")
        tasks = {
            "done": hub.create(source, dest[0], description="Photos to the archive account"),
            "failed": hub.create(
                source, refused, description="Photos to the partner", checksumMode="none"
            ),
        }
        for task in tasks.values():
            hub.wait(task, "DONE")
        tasks["moving"] = hub.create(
            source, dest[2], description="Media to the second region", maxBytesPerSecond="1M"
        )
        tasks["scheduled"] = hub.create(
            source, dest[3], once=False, description="Nightly copy of reports", scheduleRate="1 day"
        )
        tasks["broken"] = hub.create(
            Side(here, "no-such-bucket"), dest[4], description="A bucket that is gone"
        )
        yield hub, tasks


def take(browser: Browser, hub: Hub, name: str, path: str, look: Look, folder: Path) -> list[str]:
    """One picture; what the browser complained of."""
    context = browser.new_context(
        viewport={"width": look.width, "height": look.height},
        color_scheme="dark" if look.dark else "light",
        locale="zh-CN" if look.language == "zh" else "en-US",
        reduced_motion="reduce",
        device_scale_factor=1,
    )
    console = Console(context.new_page(), hub)
    page: Page = console.page
    page.goto(hub.url)
    page.locator("#name").fill("alex")
    page.locator("#password").fill(PASSWORD)
    page.get_by_role("button").click()
    console.heading().wait_for()
    console.open(path)
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / f"{name}.png", animations="disabled")
    context.close()
    return [f"{name}: {problem}" for problem in console.problems]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument(
        "--page", action="append", default=[], help="Only this page; several times for several."
    )
    parser.add_argument("--looks", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        furnished(Path(folder)) as (hub, tasks),
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        paths = pages(tasks)
        for name in given.page or (paths if given.looks else SHOWN):
            for kind, look in LOOKS.items() if given.looks else [("", LOOKS["light"])]:
                picture = f"{name}-{kind}".rstrip("-")
                for problem in take(browser, hub, picture, paths[name], look, given.out):
                    print(problem)
        browser.close()


if __name__ == "__main__":
    main()
