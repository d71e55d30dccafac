"""A backup from the console, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from dth.hub.model import Role
from tests.e2e.console import PASSWORD, Console
from tests.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that may be restarted."""
    with Hub(tmp_path) as hub:
        hub.user("admin-user", PASSWORD, Role.ADMIN)
        yield hub


def test_a_backup_is_downloaded_and_restored(page: Page, own_hub: Hub, tmp_path: Path) -> None:
    console = Console(page, own_hub)
    console.sign_in("admin-user")
    console.open("/backups")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download a backup", exact=True).click()
    file = tmp_path / download.value.suggested_filename
    assert file.name.endswith(".tar.gz")
    download.value.save_as(file)
    table = page.get_by_role("table", name="Last backups and restores")
    expect(table.get_by_role("row").filter(has_text=file.name)).to_contain_text("Complete")
    own_hub.user("somebody-later", PASSWORD, Role.VIEWER)

    (tmp_path / "notes.tar.gz").write_bytes(b"no backup")
    choose = page.get_by_label("File of a backup (.tar.gz)")
    choose.set_input_files(tmp_path / "notes.tar.gz")
    expect(page.get_by_text("this is not a whole archive of a backup")).to_be_visible()
    choose.set_input_files(file)
    expect(page.get_by_text("A backup waits for the next start of the hub")).to_be_visible()
    expect(page.get_by_text("It has 0 tasks and 2 users.")).to_be_visible()
    for dark in (False, True):
        console.dark(dark)
        expect(page.get_by_text("A backup waits for the next start of the hub")).to_be_visible()
        assert console.accessibility() == []
    assert console.problems == []

    own_hub.stop()
    own_hub.start()
    names = {each["name"] for each in own_hub.call("{ listUsers { name } }")}
    assert names == {"admin", "admin-user"}
    page.goto(f"{own_hub.url}/backups")  # the session was in the backup
    row = table.get_by_role("row").filter(has_text="Restore a backup")
    expect(row).to_contain_text("before-restore-")
