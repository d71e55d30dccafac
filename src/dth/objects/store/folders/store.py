"""Answers requests to a store from a folder: the lowest layer, in the place of signing and HTTP.

A file's ETag consists of its time and size. So it says whether the file has changed, and nothing
about its bytes. A file is written under a temporary name in its folder, synced, and renamed. The
ETag of the object that it is a copy of is kept beside it in an extended attribute, together with
the file's own, so that it ends with the next change.
"""

import asyncio
import errno
import fcntl
import mimetypes
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote

from dth.core.errors import (
    FULL,
    EndpointRefused,
    NoSuchUpload,
    NotSupported,
    ObjectChanged,
    ObjectRefused,
    SourceGone,
    TransferError,
    Transient,
    full_disk,
)
from dth.core.transport import Body, Pipe, Response, Transport
from dth.objects.store.etags import SOURCE_ETAG
from dth.objects.store.folders.paths import (
    ATTRIBUTE,
    Root,
    is_marked,
    names_of,
    refusal,
    refuse_link,
)
from dth.objects.store.folders.tree import LINK, Found, Tree
from dth.objects.store.request import Request

# The time of a file, as rclone writes it: seconds since the epoch with up to nine decimals.
MTIME = "x-amz-meta-mtime"
SECONDS = re.compile(r"-?\d{1,12}(\.\d{1,9})?\d*")
# The size of the parts of an upload, which says where in the file each part belongs.
PART_SIZE = "x-dth-part-size"
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Where open files have names, and the flag for a file without a name; 0 if this system has none.
DESCRIPTORS = "/proc/self/fd"
NAMELESS: int = getattr(os, "O_TMPFILE", 0) if os.path.isdir(DESCRIPTORS) else 0
# Bytes that pass through a pipe at once.
STEP = 256 * 1024
# Types of files that are packed, whose names also say what they hold.
PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
UNKNOWN_TYPE = "application/octet-stream"
FOLDER_TYPE = "application/x-directory"
FOLDER_ETAG = "folder"
CODES: dict[int, tuple[type[TransferError], str, str]] = {
    errno.ENOENT: (SourceGone, "NoSuchKey", "there is no such file"),
    errno.EACCES: (ObjectRefused, "PermissionDenied", "permission denied"),
    errno.EPERM: (ObjectRefused, "PermissionDenied", "the system does not permit it"),
    errno.EROFS: (EndpointRefused, "ReadOnly", "the file system is read-only"),
    errno.EISDIR: (ObjectRefused, "NameIsFolder", "a folder has this name"),
    errno.ENOTEMPTY: (ObjectRefused, "NameIsFolder", "a folder has this name"),
    errno.EEXIST: (ObjectRefused, "NameIsFile", "a file has the name of a folder in its path"),
    errno.ENOTDIR: (ObjectRefused, "NameIsFile", "a file has the name of a folder in its path"),
    errno.ELOOP: (
        ObjectRefused,
        "SymbolicLink",
        "a symbolic link is in its path, which is not followed",
    ),
    errno.ENAMETOOLONG: (
        ObjectRefused,
        "NameRefused",
        "the file system takes no name or path of this length",
    ),
    errno.EINVAL: (ObjectRefused, "NameRefused", "the file system does not take this name"),
    errno.EILSEQ: (ObjectRefused, "NameRefused", "the file system does not take this name"),
}


class Folder:
    """The folder at `path`. `writes`: it is a destination. `note` tells the user something once."""

    def __init__(
        self,
        path: str,
        transport: Transport,
        note: Callable[[str], None],
        *,
        writes: bool,
        follow: bool = False,
    ) -> None:
        self.path = path
        self._root = Root(path, follow=follow and not writes)
        self._tree = Tree(path, follow=follow and not writes, may_lack=writes)
        self._transport = transport
        self._note = note
        self._writes = writes

    @property
    def left_out(self) -> list[str]:
        """What in the folder is not an object, for the user."""
        found = []
        for kind, number in self._tree.skipped.items():
            cure = "; --links follow copies what they lead to" if kind == LINK else ""
            found.append(
                f"skipped in {self.path}: {number} {kind}{'s' if number > 1 else ''}{cure}"
            )
        return found

    def sweep(self) -> None:
        """From now on, listings remove what killed writers left."""
        self._tree.sweep = True

    async def send(self, request: Request) -> Response:
        """The answer to a request. Raises TransferError."""
        try:
            response = await self._answer(request)
        except OSError as error:
            raise self._error(request, error) from None
        if request.check:
            request.check(response)
        return response

    async def _answer(self, request: Request) -> Response:
        size = request.size
        if request.valve and not isinstance(request.body, Pipe) and request.sink is None:
            await request.valve.let(size or request.limit)
        if request.sink is not None:
            return await self._read_into(request, request.sink)
        if isinstance(request.body, Pipe):
            return await self._write_from(request, request.body)
        response = await asyncio.to_thread(self._work, request)
        self._transport.count(received=sum(map(len, response.chunks)), sent=size)
        return response

    def _work(self, request: Request) -> Response:
        query = request.query or {}
        match request.method:
            case "GET" | "HEAD" if not request.key:
                return self._about_folder(query)
            case "HEAD":
                return self._head(request)
            case "GET" if "tagging" not in query:
                return self._get(request)
            case "PUT" if "uploadId" in query:
                return self._put_part(request)
            case "PUT" if "x-amz-copy-source" not in (request.headers or {}):
                return self._put(request)
            case "POST" if "uploads" in query:
                return self._create_upload(request)
            case "POST" if "uploadId" in query:
                return self._complete(request)
            case "DELETE":
                return self._delete(request)
        raise NotSupported(
            f"{self._where(request)}: a folder cannot do this", code="NotImplemented"
        )

    # --------------------------------------------------------------------------------------- errors

    def _where(self, request: Request) -> str:
        return f"folder {self.path}" + (f", key {request.key!r}" if request.key else "")

    def _error(self, request: Request, error: OSError) -> TransferError:
        number = error.errno or 0
        where = self._where(request)
        if number in FULL and number != errno.EFBIG:
            said = full_disk(OSError(number, os.strerror(number)))
            return EndpointRefused(f"{where}: {said}", code="DiskFull")
        if number == errno.EFBIG:
            return ObjectRefused(
                f"{where}: the file system takes no file of this size", code="FileTooLarge"
            )
        kind, code, why = CODES.get(
            number, (Transient, "InputOutput", error.strerror or str(error))
        )
        reads = request.method in ("GET", "HEAD")
        if not request.key and reads and kind is not Transient:
            # The key of a folder in it that cannot be read is not in the request, but its path is
            # in the error.
            why = (
                f"{error.filename}: {why}"
                if error.filename and error.filename != self.path
                else why
            )
            why = why.replace("such file", "such folder")
            return EndpointRefused(f"folder {self.path}: {why}", code="FolderUnreadable")
        if kind is SourceGone and not reads:
            # A folder in its path was removed in the meantime.
            kind = Transient
        if kind is ObjectRefused and number in (errno.EACCES, errno.EPERM) and not reads:
            nearest = self.path
            while not os.path.lexists(nearest):
                nearest = os.path.dirname(nearest)
            if not os.access(nearest, os.W_OK | os.X_OK):
                return EndpointRefused(
                    f"folder {self.path}: files cannot be written here ({why})", code="ReadOnly"
                )
        return kind(f"{where}: {why}", code=code)

    # ----------------------------------------------------------------------------------- the folder

    def _about_folder(self, query: Mapping[str, str]) -> Response:
        if "uploads" in query:
            return self._uploads(query.get("prefix", ""))
        if "prefix" in query or "list-type" in query:
            return self._list(query)
        if not query:
            os.stat(self.path)
            return Response(200, {})
        raise SourceGone(
            f"folder {self.path}: a folder has no such setting", code="NoSuchConfiguration"
        )

    def _list(self, query: Mapping[str, str]) -> Response:
        prefix, limit = query.get("prefix", ""), int(query.get("max-keys", "1000"))
        token = unquote(query.get("continuation-token", ""), errors="surrogateescape")
        after = token or query.get("start-after", "") or query.get("marker", "")
        found, more = self._tree.page(prefix, after, limit, flat="delimiter" in query)
        rows = "".join(map(self._row, found))
        end = (
            f"<NextContinuationToken>{_quoted(found[-1].key)}</NextContinuationToken>"
            if more
            else ""
        )
        text = (
            f"<ListBucketResult><Prefix>{_encoded(prefix)}</Prefix><KeyCount>{len(found)}</KeyCount>"
            f"<EncodingType>url</EncodingType><IsTruncated>{'true' if more else 'false'}</IsTruncated>{end}{rows}"
            "</ListBucketResult>"
        )
        return Response(200, {}, [text.encode()])

    def _row(self, found: Found) -> str:
        key, state = found
        if state is None:
            return f"<CommonPrefixes><Prefix>{_encoded(key)}</Prefix></CommonPrefixes>"
        size = 0 if key.endswith("/") else state.st_size
        return (
            f"<Contents><Key>{_encoded(key)}</Key><LastModified>{_iso(self._modified(state))}</LastModified>"
            f'<ETag>"{etag_of(state)}"</ETag><Size>{size}</Size></Contents>'
        )

    def _modified(self, state: os.stat_result) -> float:
        """The time of a file. As a destination, a store states when the object was written."""
        return max(state.st_mtime, state.st_ctime) if self._writes else state.st_mtime

    # -------------------------------------------------------------------------------------- reading

    @contextmanager
    def _opened(self, request: Request) -> Iterator[tuple[int, os.stat_result]]:
        """The open file, which is the one that the request asks for."""
        key = request.key
        with self._root.parent(key) as (folder, name):
            links = 0 if self._root.follow else os.O_NOFOLLOW
            # A pipe in the place of a file would keep the process waiting.
            file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | links, dir_fd=folder)
        try:
            state = os.fstat(file)
            if not stat.S_ISREG(state.st_mode):
                raise SourceGone(
                    f"{self._where(request)}: this is not a file any more", code="NoSuchKey"
                )
            wanted = (request.options or {}).get("if-match", "").strip('"')
            if wanted and wanted != etag_of(state):
                raise self._changed(request)
            yield file, state
        finally:
            os.close(file)

    def _changed(self, request: Request) -> ObjectChanged:
        return ObjectChanged(f"{self._where(request)}: the file has changed", code="FileChanged")

    def _head(self, request: Request) -> Response:
        if request.key.endswith("/"):
            with self._root.folder(request.key, names_of(request.key[:-1])) as folder:
                return Response(200, _folder_headers(folder))
        with self._opened(request) as (file, state):
            return Response(200, self._headers(request.key, file, state))

    def _get(self, request: Request) -> Response:
        if request.key.endswith("/"):
            return self._head(request)
        with self._opened(request) as (file, state):
            first, last = _span(request, state.st_size)
            data = _read(file, first, last - first + 1)
            self._check_unchanged(request, file, state)
            headers = self._headers(request.key, file, state) | _range(
                request, first, last, state.st_size
            )
            return Response(
                206 if "content-range" in headers else 200, headers, [data] if data else []
            )

    async def _read_into(self, request: Request, sink: Pipe) -> Response:
        """Read into a pipe. The file is opened by name once, so that all bytes are of one file."""
        opened = self._opened(request)
        file, state = await asyncio.to_thread(opened.__enter__)
        try:
            first, last = _span(request, state.st_size)
            for start in range(first, last + 1, STEP):
                length = min(STEP, last + 1 - start)
                data = await asyncio.to_thread(_read, file, start, length)
                if len(data) < length:
                    raise self._changed(request)
                if request.valve:
                    await request.valve.let(length)
                if not await sink.feed(data):
                    raise Transient(
                        f"{self._where(request)}: the other side gave up", code="Aborted"
                    )
                self._transport.count(received=length)
            self._check_unchanged(request, file, state)
            headers = self._headers(request.key, file, state) | _range(
                request, first, last, state.st_size
            )
            return Response(206, headers)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)

    def _check_unchanged(self, request: Request, file: int, before: os.stat_result) -> None:
        now = os.fstat(file)
        if (now.st_mtime_ns, now.st_ctime_ns, now.st_size) != (
            before.st_mtime_ns,
            before.st_ctime_ns,
            before.st_size,
        ):
            raise self._changed(request)

    def _headers(self, key: str, file: int, state: os.stat_result) -> dict[str, str]:
        etag = etag_of(state)
        headers = {
            "content-length": str(state.st_size),
            "content-type": _type_of(key.rpartition("/")[2]),
            "etag": f'"{etag}"',
            "last-modified": formatdate(max(0.0, self._modified(state)), usegmt=True),
            MTIME: _seconds(state.st_mtime_ns),
        }
        if source := _kept_source(file, etag):
            headers[SOURCE_ETAG] = source
        return headers

    # -------------------------------------------------------------------------------------- writing

    def _put(self, request: Request) -> Response:
        key, body = request.key, request.body
        headers = request.headers or {}
        if key.endswith("/"):
            return self._make_folder(request)
        chunks = _chunks(body)
        with self._root.parent(key, make=True) as (folder, name):
            self._refuse_target(key, folder, name)
            with _temporary(folder) as (file, temporary):
                for chunk in chunks:
                    _write(file, chunk, -1)
                return self._place(
                    folder, file, temporary, name, _time_of(headers), headers.get(SOURCE_ETAG, "")
                )

    def _make_folder(self, request: Request) -> Response:
        """An empty object whose key ends in a slash is a folder."""
        if request.size:
            raise refusal(
                request.key, "ends in a slash, so it is not the name of a file", "NameRefused"
            )
        with self._root.folder(request.key, names_of(request.key[:-1]), make=True) as folder:
            self._keep_source(folder, FOLDER_ETAG, (request.headers or {}).get(SOURCE_ETAG, "-"))
            return Response(200, _folder_headers(folder))

    def _refuse_target(self, key: str, folder: int, name: str) -> None:
        """Refuse to replace what is not a file."""
        mode = refuse_link(key, folder, name)
        if stat.S_ISDIR(mode):
            raise refusal(key, "has the name of a folder", "NameIsFolder")
        if mode and not stat.S_ISREG(mode):
            raise refusal(key, "has the name of a special file", "NameIsSpecial")

    def _place(
        self, folder: int, file: int, temporary: str, name: str, modified: int | None, source: str
    ) -> Response:
        """Give a complete file its time and its name, so that a crash leaves the old file or the
        new one."""
        if modified is not None:
            with suppress(OverflowError):
                os.utime(file, ns=(modified, modified))
        etag = etag_of(os.fstat(file))
        self._keep_source(file, etag, source)
        os.fsync(file)
        _give_name(folder, file, temporary, name)
        os.fsync(folder)
        return Response(200, {"etag": f'"{etag}"'})

    def _keep_source(self, file: int, etag: str, source: str) -> None:
        if not source:
            return
        try:
            os.setxattr(file, ATTRIBUTE, f"{etag} {source}".encode())
        except (OSError, AttributeError):
            self._note(
                f"the file system of {self.path} keeps no attributes: later runs compare its "
                "files by size and time"
            )

    async def _write_from(self, request: Request, pipe: Pipe) -> Response:
        """Write a part from a pipe."""
        query = request.query or {}
        upload, number = query["uploadId"], int(query["partNumber"])
        opened = self._upload(request.key, upload)
        file, *_ = await asyncio.to_thread(opened.__enter__)
        try:
            offset = (number - 1) * _part_size(upload)
            left = len(pipe)
            while left:
                if not (data := await pipe.draw(min(left, STEP))):
                    raise Transient(
                        f"{self._where(request)}: the other side gave up", code="Aborted"
                    )
                if request.valve:
                    await request.valve.let(len(data))
                await asyncio.to_thread(_write, file, data, offset)
                self._transport.count(sent=len(data))
                offset, left = offset + len(data), left - len(data)
            await asyncio.to_thread(os.fdatasync, file)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)
        return Response(200, {"etag": f'"{number}"'})

    # -------------------------------------------------------------------------------------- uploads

    def _create_upload(self, request: Request) -> Response:
        headers = request.headers or {}
        size, modified = int(headers.get(PART_SIZE, "0")), _time_of(headers)
        parts = (str(size), "" if modified is None else str(modified), headers.get(SOURCE_ETAG, ""))
        number = secrets.token_hex(8)
        with self._root.parent(request.key, make=True) as (folder, name):
            self._refuse_target(request.key, folder, name)
            os.close(os.open(f".dth-{number}.upload", CREATE, 0o666, dir_fd=folder))
        # What completes it may be another process, which knows only the id.
        upload = ":".join((number, *map(quote_plus, parts)))
        return _document(f"<Upload><UploadId>{upload}</UploadId></Upload>")

    @contextmanager
    def _upload(self, key: str, upload: str) -> Iterator[tuple[int, int, str, str]]:
        """The file of an upload, its folder, and both names. Raises NoSuchUpload."""
        with self._root.parent(key) as (folder, name):
            temporary = _temporary_of(upload)
            try:
                file = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                raise NoSuchUpload(
                    f"key {key!r}: this upload is gone", code="NoSuchUpload"
                ) from None
            try:
                yield file, folder, temporary, name
            finally:
                os.close(file)

    def _put_part(self, request: Request) -> Response:
        query, body = request.query or {}, request.body
        upload, number = query["uploadId"], int(query["partNumber"])
        with self._upload(request.key, upload) as (file, *_):
            offset = (number - 1) * _part_size(upload)
            for chunk in _chunks(body):
                _write(file, chunk, offset)
                offset += len(chunk)
            # A part that is recorded as done is not written again.
            os.fdatasync(file)
        return Response(200, {"etag": f'"{number}"'})

    def _complete(self, request: Request) -> Response:
        upload = (request.query or {})["uploadId"]
        _, _, modified, source = _fields(upload)
        with self._upload(request.key, upload) as (file, folder, temporary, name):
            self._refuse_target(request.key, folder, name)
            time_ = int(modified) if modified else None
            etag = self._place(folder, file, temporary, name, time_, source).headers["etag"]
        return _document(f"<Complete><ETag>{etag}</ETag></Complete>")

    def _uploads(self, key: str) -> Response:
        """Files of uploads in the folder of this key. Which key each belongs to is not known."""
        raise NoSuchUpload(f"folder {self.path}: uploads are not listed", code="NoSuchUpload")

    # ------------------------------------------------------------------------------------- deleting

    def _delete(self, request: Request) -> Response:
        key, query = request.key, request.query or {}
        if upload := query.get("uploadId"):
            with suppress(FileNotFoundError), self._root.parent(key) as (folder, _):
                os.unlink(_temporary_of(upload), dir_fd=folder)
            return Response(204, {})
        names = names_of(key.removesuffix("/"))
        with suppress(FileNotFoundError):
            if not key.endswith("/"):
                with self._root.parent(key) as (folder, name):
                    refuse_link(key, folder, name)
                    os.unlink(name, dir_fd=folder)
                names.pop()
            else:
                self._unmark(key, names)
            self._remove_empty(key, names)
        return Response(204, {})

    def _unmark(self, key: str, names: list[str]) -> None:
        with self._root.folder(key, names) as folder, suppress(OSError, AttributeError):
            os.removexattr(folder, ATTRIBUTE)

    def _remove_empty(self, key: str, names: list[str]) -> None:
        """Remove a folder, and the folders it is in, as long as nothing else is in them and they
        are not objects."""
        while names:
            with self._root.folder(key, names) as folder:
                if is_marked(folder):
                    return
            with self._root.folder(key, names[:-1]) as folder:
                try:
                    os.rmdir(names.pop(), dir_fd=folder)
                except OSError:
                    return


def _chunks(body: Body) -> Sequence[bytes]:
    """The pieces of a body in memory."""
    assert not isinstance(body, Pipe)
    return [body] if isinstance(body, bytes) else body


def etag_of(state: os.stat_result) -> str:
    """The ETag of a file: its time and size."""
    if stat.S_ISDIR(state.st_mode):
        return FOLDER_ETAG
    return f"{state.st_mtime_ns:x}-{state.st_size:x}"


def written_time(headers: Mapping[str, str]) -> str:
    """The time that a copy of an object in a folder has if the object states none of a file: when
    it was written."""
    try:
        return str(int(parsedate_to_datetime(headers.get("last-modified", "")).timestamp()))
    except ValueError:
        return ""


def _time_of(headers: Mapping[str, str]) -> int | None:
    """The time of a file in nanoseconds, from its metadata; None if there is none that can be
    right."""
    found = SECONDS.fullmatch(headers.get(MTIME, "").strip())
    if not found:
        return None
    nanoseconds = int(Decimal(found[0]).scaleb(9))
    # What file systems can keep.
    return nanoseconds if -(2**31) <= nanoseconds // 10**9 < 2**34 else None


def _seconds(nanoseconds: int) -> str:
    """A time as rclone writes it."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    whole, fraction = divmod(rest, 10**9)
    return f"{sign}{whole}.{fraction:09}".rstrip("0").rstrip(".")


def _iso(moment: float) -> str:
    # Four digits for the year, whatever the file says.
    return time.strftime(
        "%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(min(max(moment, 0.0), 253402300799.0))
    )


def _encoded(key: str) -> str:
    return quote_plus(key, safe="/", errors="surrogateescape")


def _quoted(key: str) -> str:
    return quote(key, safe="", errors="surrogateescape")


def _document(text: str) -> Response:
    return Response(200, {}, [text.encode()])


@lru_cache(maxsize=1000)
def _type_by_ending(ending: str) -> str:
    kind, packed = mimetypes.guess_type(f"x{ending}")
    return PACKED.get(packed, UNKNOWN_TYPE) if packed else kind or UNKNOWN_TYPE


def _type_of(name: str) -> str:
    """The content type that the name of a file suggests."""
    return _type_by_ending(os.path.splitext(name)[1])


def _folder_headers(folder: int) -> dict[str, str]:
    headers = {
        "content-length": "0",
        "content-type": FOLDER_TYPE,
        "etag": f'"{FOLDER_ETAG}"',
        "last-modified": formatdate(max(0.0, os.fstat(folder).st_mtime), usegmt=True),
    }
    if source := _kept_source(folder, FOLDER_ETAG):
        headers[SOURCE_ETAG] = source
    return headers


def _span(request: Request, size: int) -> tuple[int, int]:
    """The first and last byte that the request asks for."""
    wanted = (request.headers or {}).get("range", "")
    if not wanted:
        return 0, size - 1
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    return int(first), min(int(last), size - 1)


def _range(request: Request, first: int, last: int, size: int) -> dict[str, str]:
    if not (request.headers or {}).get("range"):
        return {}
    return {
        "content-range": f"bytes {first}-{last}/{size}",
        "content-length": str(max(0, last - first + 1)),
    }


def _read(file: int, first: int, length: int) -> bytes:
    data = os.pread(file, length, first) if length > 0 else b""
    if 0 < len(data) < length:
        # One call returns at most 2 GiB, and less if a signal comes.
        pieces = [data]
        while len(data) and (left := length - sum(map(len, pieces))):
            data = os.pread(file, left, first + length - left)
            pieces.append(data)
        data = b"".join(pieces)
    return data


def _write(file: int, data: bytes, offset: int) -> None:
    """Write everything at this offset; -1: where the file is."""
    rest = memoryview(data)
    while len(rest):
        written = os.write(file, rest) if offset < 0 else os.pwrite(file, rest, offset)
        rest = rest[written:]
        if offset >= 0:
            offset += written


@contextmanager
def _temporary(folder: int) -> Iterator[tuple[int, str]]:
    """A new file in an open folder, and its temporary name, which is removed if something goes
    wrong. Where the system can do that, the file has no name ("") before it is complete, so that a
    killed process leaves nothing."""
    name = ""
    file = _open_nameless(folder)
    if file < 0:
        name = _new_name()
        file = os.open(name, CREATE, 0o666, dir_fd=folder)
    try:
        if name:
            _lock(file)
        yield file, name
    except BaseException:
        if name:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(file)


def _open_nameless(folder: int) -> int:
    """A file without a name; -1 if the file system has none."""
    if not NAMELESS:
        return -1
    try:
        return os.open(".", NAMELESS | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            return -1
        raise


def _new_name() -> str:
    return f".dth-{secrets.token_hex(8)}.part"


def _lock(file: int) -> None:
    """Show that a file with a temporary name is in use. Some file systems have no locks; there, a
    listing may remove it, and it is written again."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _give_name(folder: int, file: int, temporary: str, name: str) -> None:
    """Put a complete file in the place of the one with this name."""
    if not temporary:
        try:
            _link(folder, file, name)
            return
        except FileExistsError:
            temporary = _new_name()
            _lock(file)
            _link(folder, file, temporary)
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def _link(folder: int, file: int, name: str) -> None:
    os.link(f"{DESCRIPTORS}/{file}", name, dst_dir_fd=folder, follow_symlinks=True)


def _fields(upload: str) -> tuple[str, int, str, str]:
    """What the id of an upload holds: its number, the size of its parts, the time of the file, the
    source's ETag."""
    number, size, modified, source = upload.split(":")
    return number, int(size), unquote(modified), unquote(source)


def _part_size(upload: str) -> int:
    return _fields(upload)[1]


def _temporary_of(upload: str) -> str:
    number = upload.partition(":")[0]
    if not re.fullmatch("[0-9a-f]{16}", number):
        raise NoSuchUpload(f"there is no upload {upload!r}", code="NoSuchUpload")
    return f".dth-{number}.upload"


def _kept_source(file: int, etag: str) -> str:
    """The ETag of the object that this file is a copy of; "" if it is none, or has changed
    since."""
    try:
        own, _, source = os.getxattr(file, ATTRIBUTE).decode("ascii").partition(" ")
    except (OSError, AttributeError, UnicodeDecodeError):
        return ""
    return source if own == etag else ""
