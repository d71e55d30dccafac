"""`dth s3 ls`, `du` and `stat`: what is in a store."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

import click

from dth.cli import start
from dth.cli.display import amount, columns, counted, shown, table
from dth.cli.options import task_options
from dth.cli.output import Output, output_format
from dth.cli.running import run_work, verbose_option
from dth.cli.s3_options import PLACE, build_parameters, is_local, key_file_options, parse_url
from dth.core.config import secrets_directory
from dth.core.errors import HubError, SourceGone, TransferError, UsageError
from dth.core.stores_file import read_stores
from dth.core.transport import Transport
from dth.objects.browse import buckets_of
from dth.objects.listing.lookup import nothing_below
from dth.objects.listing.pages import ListedObject, PrefixListing, pages
from dth.objects.parameters import S3Parameters
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import FileSecrets
from dth.objects.store.etags import bare_etag
from dth.objects.store.folders.paths import place_of
from dth.objects.transfer.proof import stated_checksums

META = "x-amz-meta-"
# What `stat` shows of an answer, besides size, time, ETag, metadata and checksums.
HEADERS = {
    "content-type": "type",
    "content-encoding": "encoding",
    "content-language": "language",
    "content-disposition": "disposition",
    "cache-control": "cache",
    "expires": "expires",
    "x-amz-storage-class": "class",
    "x-amz-restore": "restore",
    "x-amz-server-side-encryption": "encryption",
    "x-amz-version-id": "version",
    "x-amz-object-lock-mode": "lock",
    "x-amz-object-lock-retain-until-date": "lockedUntil",
    "x-amz-replication-status": "replication",
}


def looking(command: Any) -> Any:
    """The options of a command that asks one store."""
    command = verbose_option(key_file_options("src")(command))
    return task_options(S3Parameters, ("source",), one_store=True)(command)


@asynccontextmanager
async def opened(parameters: S3Parameters, *, must_list: bool = True) -> AsyncIterator[S3Client]:
    """The store, ready and seen to answer."""
    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        yield await start.open_store(parameters, transport, secrets, must_list=must_list)


def named(
    url: str,
    given: dict[str, Any],
    *,
    verbose: bool,
    folder: bool = False,
    stores_only: bool = False,
) -> S3Parameters:
    """The parameters of a command that asks one store for this URL."""
    if stores_only and is_local(url):
        raise UsageError(f"URL {url!r} is of this machine; this command is for buckets only")
    bucket, prefix = parse_url(url, "URL", folder=folder)
    parameters = build_parameters(given, src_bucket=bucket, src_prefix=prefix)
    return start.settled(parameters, ("source",), verbose=verbose, one_store=True)


def listing(client: S3Client, prefix: str, delimiter: str = "") -> PrefixListing:
    return PrefixListing(
        client,
        prefix,
        name=client.place,
        delimiter=delimiter,
        first_version=client.first_version,
    )


# ----------------------------------------------------------------------------------------------- ls


@click.command(name="ls")
@click.argument("url", type=PLACE, required=False, default="")
@looking
@click.option(
    "-r", "--recursive", is_flag=True, help="All keys below the prefix instead of one level."
)
@click.option("-l", "--long", "long", is_flag=True, help="Show ETags and storage classes too.")
@click.option(
    "-H", "--human", "--human-readable", "human", is_flag=True, help="Sizes such as 1.2 MiB."
)
@click.option(
    "--summarize", is_flag=True, help="Add the number of objects and their size to the list."
)
@output_format
def list_(
    url: str,
    recursive: bool,
    long: bool,
    human: bool,
    summarize: bool,
    output: Output,
    verbose: bool,
    **given: Any,
) -> int:
    """List the objects of s3://bucket/prefix, or the files of a folder.

    Without URL, and with the name of a store alone (old-minio:), list the buckets. Times are UTC.
    JSON has one object per line.
    """
    if (bucket := url.removeprefix("s3://")) in ("", *(f"{name}:" for name in read_stores())):
        parameters = build_parameters(given, src_bucket=bucket)
        parameters = start.settled(parameters, ("source",), verbose=verbose, one_store=True)
        return run_work(_list_buckets(parameters, output))
    parameters = named(url, given, verbose=verbose)
    return run_work(_ls(parameters, recursive, long, human, summarize, output))


async def _list_buckets(parameters: S3Parameters, output: Output) -> int:
    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        store = await start.opened("source", parameters, transport, secrets, one_store=True)
        try:
            found = await buckets_of(store)
        except TransferError as error:
            raise UsageError(
                start.told(error, "source", parameters, store, one_store=True)
            ) from None
    if not found.get("listed"):
        raise HubError(f"{store.endpoint.url}: {found['message']}")
    for bucket in found["buckets"]:
        if output.for_people:
            click.echo(f"{bucket['created']:<24}  s3://{shown(bucket['name'])}")
        else:
            output.print_item({"bucket": bucket["name"], "created": bucket["created"]})
    if output.for_people:
        more = " and more" if found["more"] else ""
        click.echo(f"{counted(len(found['buckets']), 'bucket')}{more}", err=True)
    return 0


async def _ls(
    parameters: S3Parameters,
    recursive: bool,
    long: bool,
    human: bool,
    summarize: bool,
    output: Output,
) -> int:
    objects = size = folders = 0
    prefix = parameters.src_prefix
    async with opened(parameters) as source:
        async for page in pages(listing(source, prefix, "" if recursive else "/")):
            folders += len(page.prefixes)
            for folder in page.prefixes:
                if output.for_people:
                    click.echo(f"{'PRE':>34}{'  ' + ' ' * 50 if long else ''}  {shown(folder)}")
                else:
                    output.print_item({"prefix": folder})
            for entry in page.entries:
                objects, size = objects + 1, size + entry.size
                if output.for_people:
                    click.echo(_line(entry, long=long, human=human))
                else:
                    output.print_item(entry._asdict() | {"modified": _when(entry)})
        nothing = "" if objects or folders or not prefix else await nothing_below(source, prefix)
    total = f"{counted(objects, 'object')}, {amount(size)}"
    if summarize:
        if output.for_people:
            click.echo(total)
        else:
            output.print_item({"objects": objects, "bytes": size})
    elif output.for_people:
        click.echo(total, err=True)
    if nothing:
        click.echo(f"dth: {nothing}", err=True)
        return 1
    return 0


def _when(entry: ListedObject) -> str:
    """The time of an object, which is UTC."""
    return f"{entry.modified}Z" if entry.modified else ""


def _line(entry: ListedObject, *, long: bool, human: bool) -> str:
    size = amount(entry.size) if human else str(entry.size)
    more = f"  {entry.etag:<35} {entry.storage_class or 'STANDARD':<14}" if long else ""
    return f"{_when(entry):20} {size:>13}{more}  {shown(entry.key)}"


# ----------------------------------------------------------------------------------------------- du


@click.command()
@click.argument("url", type=PLACE)
@looking
@click.option(
    "-d",
    "--depth",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Show folders to this depth.",
)
@output_format
def du(url: str, depth: int, output: Output, verbose: bool, **given: Any) -> int:
    """Show how many objects are below s3://bucket/prefix or in a folder, and their size."""
    parameters = named(url, given, verbose=verbose)
    return run_work(_du(parameters, depth, output))


@dataclass(slots=True)
class _Size:
    """How much is below a prefix."""

    objects: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.objects += 1
        self.bytes += size


async def _du(parameters: S3Parameters, depth: int, output: Output) -> int:
    prefix = parameters.src_prefix
    found: dict[str, _Size] = {prefix: _Size()}
    async with opened(parameters) as source:
        async for page in pages(listing(source, prefix)):
            for entry in page.entries:
                for folder in _folders(entry.key, prefix, depth):
                    found.setdefault(folder, _Size()).add(entry.size)
        nothing = "" if found[prefix].objects or not prefix else await nothing_below(source, prefix)
    root = f"{place_of(parameters.src_bucket)}/"
    # The total comes last.
    rows = sorted(found.items(), key=lambda row: (row[0] == prefix, row[0]))
    if output.for_people:
        columns(
            ("OBJECTS", "SIZE", "PREFIX"),
            [
                (str(each.objects), amount(each.bytes), shown(root + folder))
                for folder, each in rows
            ],
        )
    else:
        output.print(
            [
                {"prefix": folder, "objects": each.objects, "bytes": each.bytes}
                for folder, each in rows
            ]
        )
    if nothing:
        click.echo(f"dth: {nothing}", err=True)
        return 1
    return 0


def _folders(key: str, prefix: str, depth: int) -> list[str]:
    """The prefix, and the folders below it that the key is in, down to this depth."""
    names = key[len(prefix) :].removeprefix("/").split("/")[:-1][:depth]
    start = key[: len(prefix) + key[len(prefix) :].startswith("/")]
    return [prefix, *(start + "/".join(names[: number + 1]) + "/" for number in range(len(names)))]


# --------------------------------------------------------------------------------------------- stat


@click.command()
@click.argument("url", type=PLACE)
@looking
@output_format
def stat(url: str, output: Output, verbose: bool, **given: Any) -> int:
    """Show what a store says of an object, or of a bucket."""
    parameters = named(url, given, verbose=verbose)
    return run_work(_stat(parameters, output))


async def _stat(parameters: S3Parameters, output: Output) -> int:
    key = parameters.src_prefix
    async with opened(parameters, must_list=False) as source:
        try:
            found = await (_object(source, key) if key else _bucket(source))
        except SourceGone:
            raise HubError(await no_object(source, key)) from None
    if not output.for_people:
        output.print(found)
        return 0
    rows = [(name, _text(value)) for name, value in found.items() if not isinstance(value, dict)]
    rows += [
        (f"{name} {each}", shown(text))
        for name, values in found.items()
        if isinstance(values, dict)
        for each, text in values.items()
    ]
    table(rows)
    return 0


def _text(value: Any) -> str:
    return (
        f"{value} ({amount(value)})"
        if isinstance(value, int) and value >= 1024
        else shown(str(value))
    )


async def no_object(client: S3Client, key: str, below: str = "") -> str:
    """There is no such object: one line with what may have been meant. `below`: what does something
    with all objects that are below the key, as the end of a sentence about them."""
    text = f"there is no object {client.place}/{key}"
    folder = key if key.endswith("/") else f"{key}/"
    try:
        if (await listing(client, folder).page(limit=1)).entries:
            which = f", which {below}" if below else ""
            return f"{text}; there are objects below {client.place}/{folder}{which}"
        found = (await nothing_below(client, key)).partition("; ")[2]
    except HubError:
        # The lookup is only a help, and may be forbidden.
        return text
    return f"{text}; {found}" if found else text


async def _object(source: S3Client, key: str) -> dict[str, Any]:
    headers = (await source.head(key, checksums=True)).headers
    found: dict[str, Any] = {
        "url": f"{source.place}/{key}",
        "size": int(headers["content-length"]),
        "modified": _moment(headers.get("last-modified", "")),
        "etag": bare_etag(headers.get("etag", "")),
    }
    found |= {name: headers[header] for header, name in HEADERS.items() if headers.get(header)}
    found |= _groups(headers)
    try:
        if tags := await source.tags(key):
            found["tags"] = dict(parse_qsl(tags, keep_blank_values=True))
    except TransferError:
        # Whoever may read an object may not always read its tags, and some stores have none.
        pass
    return found


def _moment(text: str) -> str:
    """The time of an answer, in the form that lists have."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return ""


def _groups(headers: Mapping[str, str]) -> dict[str, Any]:
    groups = {
        "checksum": stated_checksums(headers),
        "metadata": {
            name.removeprefix(META): value
            for name, value in headers.items()
            if name.startswith(META)
        },
    }
    return {name: values for name, values in groups.items() if values}


async def _bucket(source: S3Client) -> dict[str, Any]:
    headers = (await source.head_bucket()).headers
    found = {
        "url": source.place,
        "endpoint": source.endpoint.url,
        "region": headers.get("x-amz-bucket-region") or source.endpoint.region,
    }
    for name, inner in (("versioning", "Status"), ("object-lock", "ObjectLockEnabled")):
        try:
            setting = await source.setting(name)
        except TransferError:
            # Not permitted, or unknown to the store.
            continue
        found[name] = (setting.findtext(inner) if setting is not None else "") or "Off"
    return found
