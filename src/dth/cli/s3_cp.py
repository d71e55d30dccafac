"""`dth s3 cp`: copies one object, also from and to a file, standard input and standard output."""

import asyncio
import contextlib
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import click

from dth.cli import start
from dth.cli.display import ProgressView, amount, shown
from dth.cli.options import task_options
from dth.cli.output import Output, output_format
from dth.cli.running import interrupted, run_work, verbose_option
from dth.cli.s3_look import no_object
from dth.cli.s3_options import (
    NAMED,
    PLACE,
    build_parameters,
    key_file_options,
    parse_url,
    written,
)
from dth.cli.state import default_state
from dth.core.config import secrets_directory
from dth.core.errors import HubError, SourceGone, UsageError, full_disk
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
BELOW = "everything below it is copied by dth s3 sync SRC DST"
STEP = 1024 * 1024  # bytes read from standard input at once
TICK = 1.0  # seconds
# Bytes of an object: 10,000 parts of 5 GiB.
LARGEST = 10_000 * 5 * 1024**3
WORDS = {
    Verified.STORE: "verified by the store's checksum",
    Verified.ETAG: "verified by MD5",
    Verified.SOURCE: "verified by the source's checksum",
    Verified.CONTENT: "verified by reading back",
    Verified.NOT: "not verified",
}


@click.command()
@click.argument("src", type=PLACE)
@click.argument("dst", type=PLACE)
@task_options(S3Parameters, ("source", "destination", "engine"))
@key_file_options("src", "dst")
@click.option(
    "--content-type", default="", help="Of an object from standard input, such as text/csv."
)
@click.option(
    "--expected-size", metavar="N", default="", help="How much comes from standard input at most."
)
@click.option("--dry-run", is_flag=True, help="Show what would be copied; write nothing.")
@click.option("--quiet", is_flag=True, help="No progress and no result.")
@output_format
@verbose_option
def cp(
    src: str,
    dst: str,
    content_type: str,
    expected_size: str,
    dry_run: bool,
    quiet: bool,
    output: Output,
    verbose: bool,
    **given: Any,
) -> int:
    """Copy one object: s3://bucket/key to s3://bucket/key.

    A DST that ends with a slash, and a bucket alone, keep the object's name. A SRC that ends with a
    slash is the marker of a folder, and DST is where it goes. In place of either
    there may be a file. The name - stands for standard input or output. When a copy in parts
    between two stores was interrupted, the same command continues it. For everything below a
    prefix there is dth s3 sync.
    """
    here = [url for url in (src, dst) if _is_here(url)]
    if len(here) > 1:
        raise UsageError(
            f"one of SRC and DST must be s3://bucket/key; {src!r} and {dst!r} are of this machine"
        )
    if not _is_here(src) and (content_type or expected_size):
        raise UsageError(
            "--content-type and --expected-size are for what comes from a file or standard input"
        )
    if dst == STREAM and not output.for_people:
        raise UsageError("--json prints to standard output, where the object goes: leave it out")
    parameters = _named(src, dst, given)
    sides = tuple(
        side for side, url in (("source", src), ("destination", dst)) if not _is_here(url)
    )
    parameters = start.settled(parameters, sides, verbose=verbose)
    said = _Said(src, dst, quiet=quiet, output=output)
    if dst == STREAM:
        return run_work(_give(parameters, said, _Stdout(), dry_run=dry_run))
    if _is_here(dst):
        said.dst = str(_target(dst, parameters.src_prefix))
        return run_work(_give(parameters, said, _file(Path(said.dst)), dry_run=dry_run))
    if _is_here(src):
        return _take(src, parameters, said, content_type, _size(expected_size), dry_run=dry_run)
    return run_work(
        _copy(
            parameters, said, default_state(f"{PLUGIN.type} cp", parameters, given), dry_run=dry_run
        )
    )


def _is_here(url: str) -> bool:
    """Whether it is a file or a stream of this machine: everything that is not a URL and names no
    store, as in `aws s3 cp`."""
    return ":" not in url or bool(re.match(r"[~/.]", url))


def _target(dst: str, key: str) -> Path:
    """The file that an object is written to. A folder keeps the object's name."""
    path, name = Path(dst).expanduser(), key.rpartition("/")[2]
    if not dst.endswith("/") and not path.is_dir():
        return path
    if name in (".", "..") or "\0" in name:
        raise UsageError(f"the name {name!r} is none for a file; give DST one")
    return path / name


def _size(text: str) -> int:
    try:
        size = int(parse_size(text)) if text else 0
    except ValueError as error:
        raise UsageError(f"--expected-size: {error}") from None
    if size > LARGEST:
        raise UsageError(
            f"--expected-size: {text} is more than an object can have (10,000 parts of 5 GiB)"
        )
    return size


def _named(src: str, dst: str, given: dict[str, Any]) -> S3Parameters:
    fixed: dict[str, Any] = {"dest_keeps_src_prefix": False}
    name = ""
    if not _is_here(src):
        bucket, key = parse_url(src, "SRC", folder=False)
        if not key:
            raise UsageError(f"SRC {src!r} names no object; {BELOW}")
        if key.endswith("/") and _is_here(dst) and dst != STREAM:
            raise UsageError(
                f"SRC {src!r} is the marker of a folder, for which there is no file; {BELOW}"
            )
        name = key.rpartition("/")[2]
        fixed |= {"src_bucket": bucket, "src_prefix": key}
    elif src != STREAM:
        path = Path(src).expanduser()
        if path.is_dir():
            raise UsageError(
                f"SRC {src!r} is a folder; everything in it is copied by dth s3 sync SRC DST"
            )
        name = path.name
    if not _is_here(dst):
        bucket, key = parse_url(dst, "DST", folder=False)
        # The key of a folder marker has no last name: a DST that ends with a slash is its new key.
        if not name and "src_prefix" in fixed:
            key = key or fixed["src_prefix"]
        elif not key or key.endswith("/"):
            if not name:
                raise UsageError(f"DST {dst!r} names no object; write s3://bucket/key")
            key += name
        fixed |= {"dest_bucket": bucket, "dest_prefix": key}
    return build_parameters(given, **fixed)


class _Said:
    """What the command says of its work and of its result."""

    def __init__(self, src: str, dst: str, *, quiet: bool, output: Output) -> None:
        self.src, self.dst = src, dst
        # Between two stores, where each is, unless its name says so.
        self._at = ("", "")
        self.quiet, self.output = quiet, output
        self._began = time.monotonic()

    def lands(self, parameters: S3Parameters) -> None:
        """DST was a folder or a bucket, and is the whole place from now on."""
        named = None if self.dst.startswith("s3://") else NAMED.fullmatch(self.dst)
        store = f"{named[1]}:" if named else ""
        self.dst = written(f"{store}{parameters.dest_bucket}", parameters.dest_prefix)

    def between(self, route: ObjectRoute) -> None:
        """Both sides are stores. Buckets of two stores may have one name."""
        one, other = route.source.endpoint, route.dest.endpoint
        if one.store != other.store:
            self._at = (_at(self.src, one.url), _at(self.dst, other.url))

    @property
    def _both(self) -> str:
        here, there = self._at
        return f"{shown(self.src)}{here} -> {shown(self.dst)}{there}"

    def result(self, size: int, etag: str, proof: str, verified: Verified, lacks: str = "") -> None:
        seconds = time.monotonic() - self._began
        if not self.output.for_people:
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
            self.output.print(found)
        elif not self.quiet:
            rate = f"{amount(size / seconds)}/s" if seconds else ""
            click.echo(
                f"{self._both}: {amount(size)} in {seconds:.1f} s ({rate}), {WORDS[verified]}",
                err=self.dst == STREAM,
            )
            if lacks:
                click.echo(f"  note: {lacks}", err=True)

    def would(self, item: ObjectItem) -> None:
        click.echo(
            f"copy    {self._both}  ({amount(item.size)})",
            err=self.dst == STREAM,
        )


def _at(url: str, endpoint: str) -> str:
    return f" at {endpoint}" if url.startswith("s3://") else ""


async def _looked(source: S3Client, key: str) -> ObjectItem:
    try:
        return await single.look(source, key)
    except SourceGone:
        raise HubError(await no_object(source, key, "dth s3 sync copies")) from None


# ----------------------------------------------------------------------------------- store to store


async def _copy(parameters: S3Parameters, said: _Said, state: Path, *, dry_run: bool) -> int:
    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        route = await start.open_route(parameters, transport, secrets, one_object=True)
        said.lands(parameters)
        said.between(route)
        item = await _looked(route.source, parameters.src_prefix)
        if dry_run:
            said.would(item)
            return 0
        try:
            async with (
                _resumable(parameters, state) as (platform, run),
                _progress(route, item, said),
            ):
                copied = await single.copy_object(route, platform.uploads, run, item)
        except asyncio.CancelledError:
            return interrupted(state)
    said.result(copied.size, copied.dest_etag, copied.proof, copied.verified, copied.detail)
    return 0


@contextlib.asynccontextmanager
async def _resumable(
    parameters: S3Parameters, state: Path
) -> AsyncIterator[tuple[LocalPlatform, int]]:
    """Where an object in parts keeps what is done of it. It stays only while there is an upload to
    continue."""
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
                Standing(
                    RunActivity.COPYING, "", 1, 0, 0, item.size, before, percent, rate, 0.0, eta
                ),
                Counts(),
                1,
            )

    with ProgressView(quiet=said.quiet or not said.output.for_people, things="objects") as view:
        showing = asyncio.create_task(show(view))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


# -------------------------------------------------------------------------------- files and streams


class _Stdout:
    """Standard output, as the place of an object."""

    def open(self) -> None:
        """Begin."""

    def write(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()

    def keep(self) -> None:
        """The object is whole."""

    def close(self) -> None:
        """Leave nothing of an object that is not whole, where that is possible."""


def _file(path: Path) -> "_Special":
    """Where the bytes of an object go. Where a symbolic link leads to a file, that file is
    replaced. A device or a named pipe stays what it is."""
    path = path.resolve()
    return _Special(path) if path.exists() and not path.is_file() else _NewFile(path)


class _Special(_Stdout):
    """A device or a named pipe. It takes the bytes as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        with self._told():
            self._file = self.opened()

    def opened(self) -> IO[bytes]:
        return self._path.open("wb")

    def write(self, chunks: Sequence[bytes]) -> None:
        assert self._file
        with self._told():
            self._file.writelines(chunks)
            self._file.flush()

    def close(self) -> None:
        # It tries once more to write what could not be written.
        with contextlib.suppress(OSError):
            if self._file:
                self._file.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            if full := full_disk(error):
                raise HubError(f"destination: {self._path}: {full}") from None
            raise UsageError(
                f"DST {str(self._path)!r} cannot be written: {error.strerror}"
            ) from None


class _NewFile(_Special):
    """A file, which has its name only when the object is whole."""

    def opened(self) -> IO[bytes]:
        return tempfile.NamedTemporaryFile(
            dir=self._path.parent, prefix=f".{self._path.name[:64]}.", delete=False
        )

    def keep(self) -> None:
        assert self._file
        with self._told():
            os.fsync(self._file.fileno())
            Path(self._file.name).replace(self._path)

    def close(self) -> None:
        super().close()
        if self._file:
            Path(self._file.name).unlink(missing_ok=True)


async def _give(parameters: S3Parameters, said: _Said, place: _Stdout, *, dry_run: bool) -> int:
    """Write an object to a file or a stream."""

    async def write(chunks: Sequence[bytes]) -> None:
        await asyncio.to_thread(place.write, chunks)

    with Transport() as transport, contextlib.closing(place):
        secrets = FileSecrets(secrets_directory())
        source = await start.open_side("source", parameters, transport, secrets)
        item = await _looked(source, parameters.src_prefix)
        if dry_run:
            said.would(item)
            return 0
        place.open()
        verified = await single.read_object(source, item, write)
        await asyncio.to_thread(place.keep)
    said.result(item.size, item.etag, "", verified)
    return 0


def _take(
    src: str, parameters: S3Parameters, said: _Said, content_type: str, size: int, *, dry_run: bool
) -> int:
    """Write a file or a stream as an object."""
    headers = {"content-type": content_type} if content_type else {}
    said.lands(parameters)
    if src == STREAM:
        if sys.stdin.isatty():
            raise UsageError("- reads standard input: write COMMAND | dth s3 cp - DST, or < FILE")
        if dry_run:
            raise UsageError(
                "--dry-run: what comes from standard input is not known before it is read"
            )
        return run_work(_put(parameters, said, sys.stdin.fileno(), headers, size))
    path = Path(src).expanduser()
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if dry_run:
                said.would(ObjectItem(str(path), found.st_size, ""))
                return 0
            # As rclone keeps it.
            headers["x-amz-meta-mtime"] = (
                f"{found.st_mtime_ns // 10**9}.{found.st_mtime_ns % 10**9:09}"
            )
            return run_work(
                _put(parameters, said, file.fileno(), headers, max(size, found.st_size))
            )
    except OSError as error:
        raise UsageError(f"SRC {src!r} cannot be read: {error.strerror}") from None


async def _put(
    parameters: S3Parameters, said: _Said, file: int, headers: dict[str, str], size: int
) -> int:
    with Transport() as transport:
        secrets = FileSecrets(secrets_directory())
        dest = await start.open_side("destination", parameters, transport, secrets)
        copied: CopiedObject = await single.write_object(
            dest, parameters.dest_prefix, _read(file), parameters, headers, size
        )
    said.result(copied.size, copied.dest_etag, copied.proof, copied.verified)
    return 0


async def _read(file: int) -> AsyncIterator[bytes]:
    """The bytes of a file or stream in pieces, until its end. Raises HubError if a file has changed
    meanwhile."""
    before = os.fstat(file)
    while chunk := await asyncio.to_thread(os.read, file, STEP):
        yield chunk
    now = os.fstat(file)
    if stat.S_ISREG(now.st_mode) and (before.st_mtime_ns, before.st_ctime_ns, before.st_size) != (
        now.st_mtime_ns,
        now.st_ctime_ns,
        now.st_size,
    ):
        raise HubError("source: the file has changed while it was read; copy it again")
