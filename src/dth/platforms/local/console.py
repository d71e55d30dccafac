"""The web console and the documentation as served by the hub: static files; all pages of the
console are the same file."""

import asyncio
import gzip
import mimetypes
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dth.hub.documentation import FOLDERS, ROOT, Documentation

PAGE = "index.html"
HASHED = "assets/"  # the build names these by their content
# The page that renews a session; the console shows it in a frame.
SILENT = "auth/silent"
COMPRESSED = (".html", ".js", ".css", ".svg", ".json")
MISSING = (
    "Data Transfer Hub. This installation has no web console; its API is at /graphql. See: dth "
    "login --help\n"
)
NO_PAGE = "there is no such page; /docs has the documentation\n"


@dataclass(frozen=True)
class File:
    body: bytes
    compressible: bool
    media_type: str
    etag: str

    @cached_property
    def compressed(self) -> bytes:
        """By gzip, when it is first asked for: a hub that starts need not wait for all files."""
        return gzip.compress(self.body, 6, mtime=0)


class Console:
    """The console's files, read once. `issuers`: where its users sign in, at this moment."""

    def __init__(
        self, issuers: Callable[[], Awaitable[Iterable[str]]], folder: Traversable | None = None
    ) -> None:
        self._files = _read(folder or files("dth").joinpath("_console"))
        self._documentation = Documentation()
        self._issuers = issuers

    def route(self) -> Route:
        """The route for everything that no other route handles."""
        return Route("/{path:path}", self._answer)

    async def _answer(self, request: Request) -> Response:
        path = request.path_params["path"]
        found = self._files.get(path) or await self._documented(path)
        if found is None and path.startswith(f"{ROOT}/"):
            return PlainTextResponse(NO_PAGE, 404)
        if found is None and PAGE not in self._files:
            return PlainTextResponse(MISSING, 200 if not path else 404)
        if found is None and path.startswith(HASHED):
            return PlainTextResponse("there is no such file; reload the page\n", 404)
        # The console decides which page an address means.
        file = found or self._files[PAGE]
        # These files do nothing by themselves: the policy of the page that loads them holds.
        hashed = path.startswith(HASHED)
        headers = {
            "etag": file.etag,
            "vary": "accept-encoding",
            "cache-control": "public, max-age=31536000, immutable" if hashed else "no-cache",
        }
        if not hashed:
            policy = await self._policy("'self'" if path == SILENT else "'none'")
            headers["content-security-policy"] = policy
            # A browser keeps the policy of its copy, so another policy is another page to it.
            headers["etag"] = _etag(file.etag.encode() + policy.encode())
        if path == SILENT:
            headers["x-frame-options"] = "SAMEORIGIN"
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        if file.compressible and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                file.compressed,
                headers={**headers, "content-encoding": "gzip"},
                media_type=file.media_type,
            )
        return Response(file.body, headers=headers, media_type=file.media_type)

    async def _documented(self, path: str) -> File | None:
        """A file of the documentation. It is kept for whoever asks next."""
        path = FOLDERS.get(path.rstrip("/"), path)
        if not path.startswith(f"{ROOT}/") or path not in self._documentation.paths:
            return None
        if path not in self._files:
            body = await asyncio.to_thread(self._documentation.read, path)
            self._files[path] = _file(path, body)
        return self._files[path]

    async def _policy(self, frame_ancestors: str) -> str:
        """The Content-Security-Policy: only our own files, and requests to the hub and the
        issuers."""
        places = [urlsplit(each) for each in await self._issuers()]
        issuers = " ".join(dict.fromkeys(f"{each.scheme}://{each.netloc}" for each in places))
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            f"font-src 'self' data:; connect-src 'self' {issuers}; frame-src 'self' "
            f"{issuers}; frame-ancestors {frame_ancestors}; base-uri 'none'; form-action "
            "'none'"
        )


def _read(folder: Traversable, below: str = "") -> dict[str, File]:
    """All files by path; none if the package was built without a console."""
    if not folder.is_dir():
        return {}
    found: dict[str, File] = {}
    for entry in folder.iterdir():
        name = f"{below}{entry.name}"
        if entry.is_dir():
            found |= _read(entry, f"{name}/")
        elif not entry.name.startswith("."):
            found[name] = _file(name, entry.read_bytes())
    return found


def _file(name: str, body: bytes) -> File:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return File(body, name.endswith(COMPRESSED), media_type, _etag(body))


def _etag(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'
