"""`dth s3 rm` and `mb`: deletes objects, and creates a bucket."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

import click

from dth.cli import start
from dth.cli.display import amount, counted, shown
from dth.cli.running import run_work
from dth.cli.s3_look import listing, looking, named, no_object, opened
from dth.cli.s3_options import PLACE, parse_url, written
from dth.core.config import secrets_directory
from dth.core.errors import HubError, SourceGone, TransferError, UsageError
from dth.core.transport import Transport
from dth.objects.listing.lookup import nothing_below
from dth.objects.listing.pages import ListedObject, pages
from dth.objects.parameters import S3Parameters
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import FileSecrets
from dth.objects.store.request import Request

AT_ONCE = 32  # deletions
SHOWN_FAILURES = 20
# Codes of stores that have a bucket of this name already.
EXISTS = ("BucketAlreadyExists", "BucketAlreadyOwnedByYou")


@click.command(name="rm")
@click.argument("url", type=PLACE)
@looking
@click.option("-r", "--recursive", is_flag=True, help="Delete everything below the prefix.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted; delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--max-delete",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Delete nothing if there are more objects than this.",
)
def remove(
    url: str,
    recursive: bool,
    dry_run: bool,
    yes: bool,
    max_delete: int,
    verbose: bool,
    **given: Any,
) -> int:
    """Delete the object s3://bucket/key, or with --recursive all objects below s3://bucket/prefix/.

    Without --recursive, s3://bucket/folder/ is the marker of the folder, an object with that key.
    What is below it stays.

    In a bucket with versions, the objects get delete markers, and their versions stay.
    """
    parameters = named(url, given, verbose=verbose, folder=recursive, stores_only=True)
    if not recursive and not parameters.src_prefix:
        raise UsageError(f"URL {url!r} names no object; --recursive deletes everything below it")
    if recursive and not (yes or dry_run) and not sys.stdin.isatty():
        raise UsageError(
            "--recursive asks before it deletes, and nobody can answer here; give --yes"
        )
    return run_work(_remove(parameters, recursive, dry_run, yes, max_delete))


async def _remove(
    parameters: S3Parameters, recursive: bool, dry_run: bool, yes: bool, most: int
) -> int:
    key = parameters.src_prefix
    async with opened(parameters, must_list=recursive) as store:
        found = await (_below(store, key, most) if recursive else _one(store, key))
        size = amount(sum(entry.size for entry in found))
        if dry_run:
            for entry in found:
                click.echo(f"delete  {shown(entry.key)}  ({amount(entry.size)})")
            click.echo(f"would delete {counted(len(found), 'object')} ({size})")
            return 0
        question = (
            f"Delete {counted(len(found), 'object')} ({size}) below "
            f"s3://{store.bucket}/{shown(key)}?"
        )
        if recursive and not yes and not click.confirm(question, err=True):
            click.echo("nothing was deleted", err=True)
            return 1
        failures = await _delete(store, found)
    click.echo(f"{counted(len(found) - len(failures), 'object')} deleted, {len(failures)} failed")
    if key.endswith("/") and not recursive and not failures:
        click.echo("  note: this was the marker of a folder; what is below it stays")
    for name, error in failures[:SHOWN_FAILURES]:
        click.echo(f"  failed: {shown(name)}: {shown(str(error))}")
    return 1 if failures else 0


async def _one(store: S3Client, key: str) -> list[ListedObject]:
    try:
        headers = (await store.head(key)).headers
    except SourceGone:
        raise HubError(await no_object(store, key, "--recursive deletes")) from None
    return [ListedObject(key, int(headers["content-length"]))]


async def _below(store: S3Client, prefix: str, most: int) -> list[ListedObject]:
    """All objects there. Raises HubError if there are none, or more than `most`."""
    found: list[ListedObject] = []
    async for page in pages(listing(store, prefix)):
        found += page.entries
        if len(found) > most:
            raise HubError(
                f"there are more than {counted(most, 'object')} below "
                f"s3://{store.bucket}/{prefix}; nothing was deleted. Look at them with "
                "--dry-run, then raise --max-delete"
            )
    if not found:
        raise HubError(await nothing_below(store, prefix))
    return found


async def _delete(
    store: S3Client, entries: Sequence[ListedObject]
) -> list[tuple[str, TransferError]]:
    """Delete them; what failed."""
    failures: list[tuple[str, TransferError]] = []

    async def one(key: str) -> None:
        try:
            await store.delete(key)
        except TransferError as error:
            failures.append((key, error))

    for first in range(0, len(entries), AT_ONCE):
        await asyncio.gather(*(one(entry.key) for entry in entries[first : first + AT_ONCE]))
    return failures


# ----------------------------------------------------------------------------------------------- mb


@click.command(name="mb")
@click.argument("url", type=PLACE)
@looking
def make_bucket(url: str, verbose: bool, **given: Any) -> int:
    """Create the bucket s3://bucket."""
    parameters = named(url, given, verbose=verbose, stores_only=True)
    if parameters.src_prefix:
        bucket, _ = parse_url(url, "URL", folder=False)
        raise UsageError(
            f"URL {url!r}: write {written(bucket).rstrip('/')}; prefixes need not be created"
        )
    return run_work(_make_bucket(parameters))


async def _make_bucket(parameters: S3Parameters) -> int:
    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        store = await start.opened("source", parameters, transport, secrets, one_store=True)
        try:
            await store.send(Request("PUT", body=_configuration(store)))
        except TransferError as error:
            if error.code in EXISTS:
                whose = " and is yours" if error.code == EXISTS[1] else ""
                raise HubError(f"there is a bucket s3://{store.bucket} already{whose}") from None
            raise UsageError(
                start.told(error, "source", parameters, store, one_store=True)
            ) from None
    click.echo(f"s3://{store.bucket} created at {store.endpoint.url}")
    return 0


def _configuration(store: S3Client) -> bytes:
    """The region of a new bucket. Stores other than AWS choose it themselves."""
    region = store.endpoint.region
    if not store.endpoint.is_aws or region == "us-east-1":
        return b""
    return (
        "<CreateBucketConfiguration "
        'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>'
        f"{escape(region)}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()
