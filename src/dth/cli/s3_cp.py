"""`dth s3 cp`: copies one object, also from standard input and to standard output."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import click

from dth.cli import start
from dth.cli.display import ProgressView, amount, shown
from dth.cli.options import task_options
from dth.cli.running import interrupted, run_work, verbose_option
from dth.cli.s3_look import no_object
from dth.cli.s3_options import build_parameters, key_file_options, parse_url
from dth.cli.state import default_state
from dth.core.config import secrets_directory
from dth.core.errors import HubError, SourceGone, UsageError
from dth.core.parameters import parse_size
from dth.core.ports.runs import Counts, RunKind
from dth.core.ports.status import Verified
from dth.core.transport import Transport
from dth.hub.progress import RunActivity, Standing
from dth.objects.parameters import S3Parameters
from dth.objects.plugin import PLUGIN
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import FileSecrets
from dth.objects.transfer import single
from dth.objects.transfer.messages import ObjectItem
from dth.objects.transfer.relay import CopiedObject, ObjectRoute
from dth.platforms.local.filesystem import lock_state_directory, remove_state_directory
from dth.platforms.local.foreground import ELSEWHERE, TASK_FILE
from dth.platforms.local.platform import LocalPlatform, open_platform

STREAM = "-"
STEP = 1024 * 1024  # bytes read from standard input at once
TICK = 1.0  # seconds
WORDS = {
    Verified.STORE: "verified by the store's checksum",
    Verified.ETAG: "verified by MD5",
    Verified.SOURCE: "verified by the source's checksum",
    Verified.CONTENT: "verified by reading back",
    Verified.NOT: "not verified",
}


@click.command()
@click.argument("src")
@click.argument("dst")
@task_options(S3Parameters, ("source", "destination", "engine"))
@key_file_options("src", "dst")
@click.option("--content-type", default="", help="Of an object from standard input, such as text/csv.")
@click.option("--expected-size", metavar="N", default="", help="How much comes from standard input at most.")
@click.option("--dry-run", is_flag=True, help="Show what would be copied; write nothing.")
@click.option("--quiet", is_flag=True, help="No progress and no result.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@verbose_option
def cp(
    src: str,
    dst: str,
    content_type: str,
    expected_size: str,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Copy one object: s3://bucket/key to s3://bucket/key.

    A DST that ends with a slash, and a bucket alone, keep the object's name. In place of either, - stands for standard
    input or output. An object in parts that was interrupted is continued when the same command is given again. For
    everything below a prefix there is dth s3 sync.
    """
    if src == dst == STREAM:
        raise UsageError("one of SRC and DST must be s3://bucket/key")
    if src != STREAM and (content_type or expected_size):
        raise UsageError("--content-type and --expected-size are for an object from standard input (SRC -)")
    if dst == STREAM and as_json:
        raise UsageError("--json prints to standard output, where the object goes: leave it out")
    parameters = _named(src, dst, given)
    sides = tuple(side for side, url in (("source", src), ("destination", dst)) if url != STREAM)
    parameters = start.settled(parameters, sides, verbose=verbose)
    said = _Said(src, dst, quiet=quiet, as_json=as_json)
    if dst == STREAM:
        return run_work(_to_stream(parameters, said, dry_run=dry_run))
    if src == STREAM:
        if sys.stdin.isatty():
            raise UsageError("- reads standard input: write COMMAND | dth s3 cp - DST, or < FILE")
        if dry_run:
            raise UsageError("--dry-run: what comes from standard input is not known before it is read")
        size = _size(expected_size)
        return run_work(_from_stream(parameters, said, content_type, size))
    return run_work(
        _copy(parameters, said, default_state(f"{PLUGIN.type} cp", parameters, given), dry_run=dry_run)
    )


def _size(text: str) -> int:
    try:
        return int(parse_size(text)) if text else 0
    except ValueError as error:
        raise UsageError(f"--expected-size: {error}") from None


def _named(src: str, dst: str, given: dict[str, Any]) -> S3Parameters:
    fixed: dict[str, Any] = {"dest_keeps_src_prefix": False}
    name = ""
    if src != STREAM:
        bucket, key = parse_url(src, "SRC", folder=False)
        if not key or key.endswith("/"):
            raise UsageError(
                f"SRC {src!r} names no object; everything below it is copied by dth s3 sync SRC DST"
            )
        name = key.rpartition("/")[2]
        fixed |= {"src_bucket": bucket, "src_prefix": key}
    if dst != STREAM:
        bucket, key = parse_url(dst, "DST", folder=False)
        if not key or key.endswith("/"):
            if not name:
                raise UsageError(f"DST {dst!r} names no object; write s3://bucket/key")
            key += name
        fixed |= {"dest_bucket": bucket, "dest_prefix": key}
    return build_parameters(given, **fixed)


class _Said:
    """What the command says of its work and of its result."""

    def __init__(self, src: str, dst: str, *, quiet: bool, as_json: bool) -> None:
        self.src, self.dst = src, dst
        self.quiet, self.as_json = quiet, as_json
        self._began = time.monotonic()

    def result(self, size: int, etag: str, proof: str, verified: Verified, lacks: str = "") -> None:
        seconds = time.monotonic() - self._began
        if self.as_json:
            found = {
                "source": self.src,
                "destination": self.dst,
                "bytes": size,
                "etag": etag,
                "proof": proof,
                "verified": verified.value,
                "incomplete": lacks,
                "seconds": round(seconds, 3),
            }
            click.echo(json.dumps(found))
        elif not self.quiet:
            rate = f"{amount(size / seconds)}/s" if seconds else ""
            click.echo(
                f"{shown(self.src)} -> {shown(self.dst)}: "
                f"{amount(size)} in {seconds:.1f} s ({rate}), {WORDS[verified]}",
                err=self.dst == STREAM,
            )
            if lacks:
                click.echo(f"  note: {lacks}", err=True)

    def would(self, item: ObjectItem) -> None:
        click.echo(
            f"copy    {shown(self.src)} -> {shown(self.dst)}  ({amount(item.size)})", err=self.dst == STREAM
        )


async def _looked(source: S3Client, key: str) -> ObjectItem:
    try:
        return await single.look(source, key)
    except SourceGone:
        raise HubError(await no_object(source, key)) from None


# -------------------------------------------------------------------------------------------- store to store


async def _copy(parameters: S3Parameters, said: _Said, state: Path, *, dry_run: bool) -> int:
    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        route = await start.open_route(parameters, transport, secrets, one_object=True)
        said.dst = f"s3://{parameters.dest_bucket}/{parameters.dest_prefix}"
        item = await _looked(route.source, parameters.src_prefix)
        if dry_run:
            said.would(item)
            return 0
        try:
            async with _resumable(parameters, state) as (platform, run), _progress(route, item, said):
                copied = await single.copy_object(route, platform.uploads, run, item)
        except asyncio.CancelledError:
            return interrupted(state)
    said.result(copied.size, copied.dest_etag, copied.proof, copied.verified, copied.detail)
    return 0


@contextlib.asynccontextmanager
async def _resumable(parameters: S3Parameters, state: Path) -> AsyncIterator[tuple[LocalPlatform, int]]:
    """Where an object in parts keeps what is done of it. It stays only while there is an upload to continue."""
    with lock_state_directory(state, hint=ELSEWHERE):
        keep = False
        try:
            (state / TASK_FILE).write_text(parameters.model_dump_json(by_alias=True), "utf-8")
            with open_platform(state, single.OWNER) as platform:
                await platform.release_owner(single.OWNER)
                run, _ = await platform.records.begin_run(RunKind.SYNC)
                try:
                    yield platform, run.id
                finally:
                    keep = bool(await platform.uploads.live())
        finally:
            if not keep:
                remove_state_directory(state)


@contextlib.asynccontextmanager
async def _progress(route: ObjectRoute, item: ObjectItem, said: _Said) -> AsyncIterator[None]:
    async def show(view: ProgressView) -> None:
        began, before = time.monotonic(), 0
        while True:
            await asyncio.sleep(TICK)
            done = min(item.size, route.tally.recorded + route.tally.held)
            seconds = time.monotonic() - began
            before = max(before, done)
            rate = before / seconds
            percent = int(before * 100 / item.size) if item.size else -1
            eta = (item.size - before) / rate if rate else -1.0
            view.update(
                Standing(RunActivity.COPYING, "", 1, 0, 0, item.size, before, percent, rate, 0.0, eta),
                Counts(),
                1,
            )

    with ProgressView(quiet=said.quiet or said.as_json, things="objects") as view:
        showing = asyncio.create_task(show(view))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


# ---------------------------------------------------------------------------------------------------- streams


async def _to_stream(parameters: S3Parameters, said: _Said, *, dry_run: bool) -> int:
    out = sys.stdout.buffer

    def write(chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            out.write(chunk)
        out.flush()

    async def give(chunks: Sequence[bytes]) -> None:
        await asyncio.to_thread(write, chunks)

    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        source = await start.open_source(parameters, transport, secrets, must_list=False)
        item = await _looked(source, parameters.src_prefix)
        if dry_run:
            said.would(item)
            return 0
        verified = await single.read_object(source, item, give)
    said.result(item.size, item.etag, "", verified)
    return 0


async def _from_stream(parameters: S3Parameters, said: _Said, content_type: str, size: int) -> int:
    headers = {"content-type": content_type} if content_type else {}
    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        dest = await start.open_side("destination", parameters, transport, secrets)
        copied: CopiedObject = await single.write_object(
            dest, parameters.dest_prefix, _stdin(), parameters, headers, size
        )
    said.result(copied.size, copied.dest_etag, copied.proof, copied.verified)
    return 0


async def _stdin() -> AsyncIterator[bytes]:
    """Standard input in pieces, until its end."""
    file = sys.stdin.fileno()
    while chunk := await asyncio.to_thread(os.read, file, STEP):
        yield chunk
