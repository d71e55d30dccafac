"""Copies blobs (configs and layers) from one registry to another.

The destination does not receive a blob that it already has. If another of its repositories has the
blob, it is mounted from there. Otherwise the blob is read once, checked against its digest on the
way, and sent: through memory, never on disk. The last bytes of a blob with a wrong digest are never
sent.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from dth.core.errors import (
    Corrupted,
    EndpointRefused,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
)
from dth.core.transport import Pipe
from dth.images.registry.client import (
    STRIKES,
    BlobUpload,
    RefusedAlone,
    Registry,
    throttles,
)
from dth.images.registry.manifest import Descriptor
from dth.images.skopeo.said import CORRUPTED

T = TypeVar("T")

AT_ONCE = 12  # blobs in progress at once
# Largest blob, in bytes, that is read whole before it is sent.
SMALL = 1024**2
PIPE_SIZE = 2 * 1024**2  # Bytes in memory per larger blob.
# Status codes of a registry that does not support HEAD.
CANNOT_TELL = (400, 405, 501)
REMEMBERED = 100_000  # blobs whose repository is remembered


class Blobs:
    """Copies blobs to one destination, in one process."""

    def __init__(self, dest: Registry) -> None:
        self._dest = dest
        self._places = asyncio.Semaphore(AT_ONCE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by digest
        self._brought: dict[str, str] = {}  # By digest: the repository that has it.
        self._mounts = True  # False once a mount has failed.

    async def bring(
        self,
        blob: Descriptor,
        source: Registry,
        source_repository: str,
        repository: str,
        mount: str,
        moved: Callable[[int], None],
    ) -> None:
        """Make sure that the repository has the blob.

        `mount`: another repository that should have it, or "". Calls `moved` with the number of
        bytes read. Raises TransferError.
        """
        lock = self._locks.setdefault(blob.digest, asyncio.Lock())
        # Others that want the same blob wait, then mount it.
        async with lock:
            refusals = 0
            while upload := await self._begin(
                blob.digest, source, source_repository, repository, mount
            ):
                try:
                    async with self._places:
                        await self._carry(blob, source, source_repository, upload, moved)
                    break
                except TransferError as error:
                    # The client cannot send the same stream again, but a new upload can.
                    streamed = blob.size > SMALL and error.host == self._dest.host
                    if not streamed or not throttles(error):
                        raise
                    refusals += 1
                    # The upload began each time: other requests pass.
                    if refusals >= STRIKES:
                        raise RefusedAlone.of(error) from None
            if len(self._brought) >= REMEMBERED:
                del self._brought[next(iter(self._brought))]
            self._brought[blob.digest] = repository

    async def _begin(
        self, digest: str, source: Registry, source_repository: str, repository: str, mount: str
    ) -> BlobUpload | None:
        """Begin an upload. None if the repository has the blob now."""
        place = mount or self._brought.get(digest, "")
        looked = not place or place == repository
        if looked:
            if await self._has(repository, digest):
                return None
            place = source_repository if source.host == self._dest.host else ""
        if place and place != repository and self._mounts:
            try:
                upload = await self._dest.begin_upload(repository, (digest, place))
            except (Throttled, EndpointRefused):
                raise
            except TransferError:
                self._mounts = False
            else:
                # The other repository may have lost the blob.
                if not upload or looked or not await self._has(repository, digest):
                    return upload
                await self._dest.give_up(upload)
                return None
        return await self._dest.begin_upload(repository)

    async def _has(self, repository: str, digest: str) -> bool:
        """Whether the destination has the blob. If it does not support the request, the blob is
        sent.
        """
        try:
            return await self._dest.has_blob(repository, digest)
        except ObjectRefused as error:
            if error.status not in CANNOT_TELL:
                raise
            return False

    async def _carry(
        self,
        blob: Descriptor,
        source: Registry,
        repository: str,
        upload: BlobUpload,
        moved: Callable[[int], None],
    ) -> None:
        if blob.size <= SMALL:
            body = await _of_source(
                source.blob(repository, blob.digest, SMALL), source, blob.digest
            )
            moved(len(body))
            await self._dest.finish_upload(upload, blob.digest, body)
            return
        pipe = _Checked(blob, moved)
        reading = asyncio.ensure_future(_read(source, repository, blob, pipe))
        reading.add_done_callback(
            lambda task: pipe.fail() if task.cancelled() or task.exception() else None
        )
        try:
            await pipe.started.wait()
            if not pipe.failed:
                await self._dest.finish_upload(upload, blob.digest, pipe)
            await reading
        except TransferError:
            if pipe.failed:  # the source failed
                await self._dest.give_up(upload)
                await reading
            if pipe.wrong:
                raise _corrupted(source, repository, blob.digest) from None
            raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


class _Checked(Pipe):
    """A pipe that lets the last bytes pass only if the digest matches."""

    def __init__(self, blob: Descriptor, moved: Callable[[int], None]) -> None:
        super().__init__(blob.size, PIPE_SIZE)
        algorithm, _, self._wanted = blob.digest.partition(":")
        self._sum = hashlib.new(algorithm)
        self._moved = moved
        self._left = blob.size
        self.wrong = False

    def read(self, size: int) -> bytes | int:
        data = super().read(size)
        if isinstance(data, bytes):
            self._sum.update(data)
            self._left -= len(data)
            self._moved(len(data))
            if self._left <= 0 and self._sum.hexdigest() != self._wanted:
                self.wrong = True
                self.fail()
                return super().read(size)
        return data


async def _read(source: Registry, repository: str, blob: Descriptor, pipe: _Checked) -> None:
    """Write the blob into the pipe."""
    await _of_source(
        source.read_blob(repository, blob.digest, blob.size, pipe), source, blob.digest
    )
    if pipe.written != blob.size:
        raise _corrupted(source, repository, blob.digest)


def _corrupted(source: Registry, repository: str, digest: str) -> Corrupted:
    line = f"{source.host}/{repository}: what it sends is not {digest}"
    return Corrupted(line, code=CORRUPTED, said=line, host=source.host)


async def _of_source(asking: Coroutine[Any, Any, T], source: Registry, digest: str) -> T:
    """Return the source's answer for a blob. A missing blob does not mean that the image is
    gone."""
    try:
        return await asking
    except SourceGone as error:
        raise ObjectRefused(
            f"the source has lost {digest}: {error}",
            code="BLOB_UNKNOWN",
            status=404,
            said=error.said,
            host=source.host,
        ) from None
    except Corrupted as error:
        raise Corrupted(str(error), code=CORRUPTED, said=str(error), host=source.host) from None
