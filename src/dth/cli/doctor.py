"""`dth doctor`: what is right and what is not with this installation and the hub's data
directory."""

import importlib.util
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from dth.cli.output import Output, output_format
from dth.core.config import data_directory
from dth.core.errors import HubError

LITTLE_SPACE = 1024**3  # bytes free below which there is a warning
OLDEST_SQLITE = (3, 35)

Check = tuple[str, str, str]  # OK, WARNING or FAILED; what; the finding


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory of the hub.",
)
@output_format
def doctor(data_dir: Path | None, output: Output) -> int:
    """Check this installation: what is missing, what is wrong, what to do. Exit code 1 if something
    fails."""
    checks = [*_machine(), *_data(data_dir or data_directory())]
    if output.for_people:
        for state, what, finding in checks:
            click.echo(f"{state:<8} {what}: {finding}")
    else:
        output.print(
            [{"state": state, "check": what, "finding": finding} for state, what, finding in checks]
        )
    return 1 if any(state == "FAILED" for state, _, _ in checks) else 0


def _machine() -> Iterator[Check]:
    python = sys.version.split()[0]
    yield (
        ("OK", "Python", python)
        if sys.version_info >= (3, 11)
        else ("FAILED", "Python", f"{python}; 3.11 is needed")
    )
    good = sqlite3.sqlite_version_info >= OLDEST_SQLITE
    yield (
        "OK" if good else "FAILED",
        "SQLite",
        sqlite3.sqlite_version + ("" if good else "; 3.35 is needed"),
    )
    try:
        import pycurl

        yield "OK", "libcurl", pycurl.version.split()[1].removeprefix("libcurl/")
    except ImportError as error:
        yield "FAILED", "libcurl", f"pycurl cannot be loaded: {error}"
    skopeo = shutil.which("skopeo")
    yield (
        ("OK", "skopeo", skopeo)
        if skopeo
        else (
            "WARNING",
            "skopeo",
            (
                "not found; it converts images and checks their signatures (Debian: apt-get "
                "install skopeo)"
            ),
        )
    )
    parquet = importlib.util.find_spec("pyarrow")
    yield (
        ("OK", "Parquet", "pyarrow is there")
        if parquet
        else (
            "WARNING",
            "Parquet",
            (
                "not installed; S3 Inventory in Parquet needs it (pip install "
                "'data-transfer-hub[parquet]')"
            ),
        )
    )


def _can_be_made(folder: Path) -> Check:
    above = next(each for each in folder.absolute().parents if each.exists())
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return "OK", "data directory", f"{folder} is not there yet; dth up makes it"
    finding = (
        f"{folder} cannot be made in {above}; choose another one with --data-dir or DTH_DATA_DIR"
    )
    return "FAILED", "data directory", finding


def _data(folder: Path) -> Iterator[Check]:
    from dth.platforms.local.filesystem import refuse_network_file_system
    from dth.platforms.local.hub_database import HubDatabase
    from dth.platforms.local.vault import open_vault

    if not folder.exists():
        yield _can_be_made(folder)
        return
    try:
        refuse_network_file_system(folder)
        yield "OK", "data directory", str(folder)
    except HubError as error:
        yield "FAILED", "data directory", str(error)
    if folder.stat().st_mode & 0o077:
        yield (
            "WARNING",
            "data directory",
            f"others on this machine may look into it; run: chmod 700 {folder}",
        )
    free = shutil.disk_usage(folder).free
    enough = free >= LITTLE_SPACE
    yield "OK" if enough else "WARNING", "disk", f"{free / 1024**3:.1f} GiB free"
    if not (folder / "hub.db").exists():
        return
    try:
        HubDatabase.open(folder / "hub.db").close()
        yield "OK", "database", "can be opened"
        open_vault(folder)
        yield "OK", "key", "opens the secrets"
    except HubError as error:
        yield "FAILED", "database", str(error)
    address = folder / "address"
    running = address.read_text("utf-8").strip() if address.exists() else ""
    yield "OK", "hub", f"runs at {running}" if running else "does not run"
