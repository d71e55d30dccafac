"""Backups that administrators download, and restore, through the hub."""

import asyncio
import contextlib
import hmac
import os
import secrets
import shutil
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from dth.core.errors import Conflict, HubError, NotFound, Unauthenticated, UsageError
from dth.hub.model import Identity
from dth.hub.ports import BackupLink, Restore, RestoreState
from dth.platforms.local.backup import write_archive
from dth.platforms.local.restore import UNPACKED, forget_restore, unpack

LINK_LIFE = 60.0  # seconds
UPLOAD = ".restore-upload"
COPIES = ".backup-*"
PIPE = 256 * 1024  # bytes that wait for a reader


class LocalBackups:
    """`hub.ports.Backups` over a data directory. `url`: where `download` is served."""

    def __init__(self, data_dir: Path, url: str) -> None:
        self._data_dir = data_dir
        self._url = url
        self._links: dict[str, tuple[bytes, float, Identity]] = {}
        self._restore: Restore | None = None
        self._writer = ThreadPoolExecutor(1, "backup")
        self._checking: asyncio.Task[None] | None = None
        self._busy = False
        for left in (*data_dir.glob(COPIES), data_dir / UNPACKED):  # by a hub that was killed
            shutil.rmtree(left, ignore_errors=True)
        (data_dir / UPLOAD).unlink(missing_ok=True)

    async def close(self) -> None:
        """End the check of an upload."""
        if self._checking:
            await asyncio.gather(self._checking, return_exceptions=True)
        self._writer.shutdown(wait=False)

    # --------------------------------------------------------------------------------- downloading

    async def link(self, caller: Identity) -> BackupLink:
        now = time.time()
        self._links = {name: link for name, link in self._links.items() if link[1] > now}
        name, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        self._links[name] = (_hash(secret), now + LINK_LIFE, caller)
        return BackupLink(name, f"{self._url}?ticket={name}.{secret}", now + LINK_LIFE)

    def holder(self, ticket: str) -> Identity:
        """Whose link it is; it is used up. Raises Unauthenticated."""
        name, _, secret = ticket.partition(".")
        expected, until, caller = self._links.get(name, (b"", 0.0, None))
        good = hmac.compare_digest(expected, _hash(secret)) and until > time.time()
        if caller is None or not good:
            raise Unauthenticated("the link has expired or was used; ask for another one")
        del self._links[name]
        return caller

    async def download(self, name: str) -> AsyncGenerator[bytes]:
        """The archive of a backup, as it is made. Raises Conflict while another one is made, and
        what goes wrong meanwhile."""
        if self._busy:
            raise Conflict("another backup is being downloaded; try again when it is done")
        self._busy = True
        try:
            loop = asyncio.get_running_loop()
            reading, writing = os.pipe()
            reader = asyncio.StreamReader(limit=PIPE)
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
            )
            written = loop.run_in_executor(self._writer, self._write, name, writing)
            try:
                while piece := await reader.read(PIPE):
                    yield piece
                await written
            finally:
                transport.close()  # the writer ends, too
        finally:
            self._busy = False

    def _write(self, name: str, writing: int) -> None:
        # Whoever downloads it may leave.
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as target:
            write_archive(self._data_dir, name, target)

    # ----------------------------------------------------------------------------------- restoring

    async def restore(self) -> Restore | None:
        return self._restore

    async def begin_restore(self, caller: Identity) -> Restore:
        if self._checking and not self._checking.done():
            raise Conflict("a backup is being checked; wait until that is done")
        forget_restore(self._data_dir)
        (self._data_dir / UPLOAD).unlink(missing_ok=True)
        self._restore = Restore(
            secrets.token_hex(8), RestoreState.UPLOADING, who=caller.name, via=caller.via
        )
        return self._restore

    async def upload(self, id: str, offset: int, piece: bytes) -> int:
        """Append a piece of the archive. Returns how many bytes there are. Raises NotFound, and
        Conflict if another piece is missing first."""
        restore = self._known(id)
        if restore.state is not RestoreState.UPLOADING:
            raise Conflict("the upload has ended; begin another one")
        if offset != restore.bytes:
            raise Conflict(f"the next piece begins at {restore.bytes}, not at {offset}")
        await asyncio.to_thread(_append, self._data_dir / UPLOAD, offset, piece)
        self._restore = replace(restore, bytes=offset + len(piece))
        return offset + len(piece)

    async def check_restore(self, id: str) -> Restore:
        restore = self._known(id)
        if restore.state is not RestoreState.UPLOADING:
            raise Conflict("this upload was checked already; begin another one")
        self._restore = replace(restore, state=RestoreState.CHECKING)
        self._checking = asyncio.create_task(self._check(self._restore))
        return self._restore

    async def discard_restore(self, id: str) -> None:
        self._known(id)
        if self._checking and not self._checking.done():
            raise Conflict("a backup is being checked; wait until that is done")
        forget_restore(self._data_dir)
        (self._data_dir / UPLOAD).unlink(missing_ok=True)
        self._restore = None

    async def _check(self, restore: Restore) -> None:
        archive = self._data_dir / UPLOAD
        try:
            if not restore.bytes:
                raise UsageError("the upload is empty; choose the file of a backup")
            found = await asyncio.to_thread(
                unpack, archive, self._data_dir, restore.who, restore.via
            )
        except HubError as error:
            self._restore = replace(restore, state=RestoreState.FAILED, error=str(error))
        except Exception:
            self._restore = replace(
                restore, state=RestoreState.FAILED, error="internal error; the hub's log has it"
            )
            raise
        else:
            self._restore = replace(
                restore,
                state=RestoreState.WAITING,
                tasks=found.tasks,
                users=found.users,
                newest=found.newest,
                left_out=found.left_out,
            )
        finally:
            archive.unlink(missing_ok=True)

    def _known(self, id: str) -> Restore:
        if self._restore is None or self._restore.id != id:
            raise NotFound(f"there is no upload {id!r}; another one may have been begun")
        return self._restore


def _append(path: Path, offset: int, piece: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.ftruncate(file, offset)  # what a broken request left
        os.pwrite(file, piece, offset)
    finally:
        os.close(file)


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
