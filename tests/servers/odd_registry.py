"""A front of a registry that misbehaves, in a thread of the test process, with quirks that are
switched on by name.

    with RegistryServer() as registry, OddRegistry(registry, "head-404", "rate-429") as odd:
        ...
        assert odd.count("HEAD", "/manifests/") == 1

Without quirks it passes everything on. `QUIRKS` lists all quirks. To add one, write a row there and
ask `self.has(name)` where the front then acts differently. `asked` is the log of what came over the
network, `refused` counts 429 and 503.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from .process import Server
from .registry import OCI_INDEX, PASSWORD, USER, basic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .registry import RegistryServer

QUIRKS = {
    # How much it takes: more than `rate` a second is refused, after a burst
    "rate-429": "Answers 429 without a time to wait (as Quay).",
    "rate-429-seconds": 'Answers 429 with "Retry-After: 1".',
    "rate-429-date": "Answers 429 with an HTTP date two seconds ahead.",
    "rate-503": "Answers 503 without a time to wait.",
    "first-429-date": (
        "Answers 429 to the first request, with a date two seconds ahead and a clock a day ahead."
    ),
    "first-429-year": 'Answers 429 to the first request, with "Retry-After: 99999999999".',
    "bad-429": 'Answers 429 to all requests for what has "bad" in its name.',
    "bad-507": 'Answers 507 with "Retry-After: 1" to all requests for what has "bad" in its name.',
    "bad-503": 'Answers 503 to all requests for what has "bad" in its name.',
    # Signing in
    "basic": "Wants user and password.",
    "hides-403": "Wants them at /v2/; answers 403 to all else that is unsigned (as Artifactory).",
    "hides-404": "Wants them at /v2/; answers 404 to all else that is unsigned (as Artifactory).",
    "one-401": 'As basic, and answers 401 to all requests for what has "secret" in its name.',
    "tokens": "Wants a token, given for USER and PASSWORD by itself.",
    "tokens-new": (
        "As tokens, and 401 for a repository for which nobody has had a token to push (as Quay)."
    ),
    "tokens-identity": "As tokens, given for the identity token IDENTITY by POST (as Azure).",
    "tokens-read-only": "As tokens, and refuses with 403 to give one for pushing.",
    "tokens-401-scope": (
        'As tokens, and refuses with 401 to give one for what has "secret" in its name.'
    ),
    "realm-path": "As tokens, and tells by a path alone where they are.",
    "realm-odd": 'As tokens, which are at "http://[".',
    "tokens-302": "As tokens, and redirects to where they are.",
    "tokens-elsewhere": (
        "As tokens, and redirects to another host for them, which must not be told who we are."
    ),
    "realm-moves": "As tokens, and names another host for them after the first.",
    "asks-elsewhere": "Redirects blobs to a host that asks for user and password.",
    "long-challenge": "Answers 401 with a challenge of 60 KiB.",
    "odd-challenge": "Answers 401 with a challenge of 2,500 letters and one mark.",
    # HEAD of manifests
    "head-404": "Answers 404 (as Nexus).",
    "head-405": "Answers 405.",
    "head-400": "Answers 400.",
    "head-403": "Answers 403.",
    "head-bare": "Tells no digest.",
    # Listings
    "pages-100": "Answers 400 PAGINATION_NUMBER_INVALID above 100 names a page.",
    "pages-never": "Answers 400 to every number of names a page.",
    "pages-of-2": "Has two names a page, and links to the next one.",
    "links-upper": 'As pages-of-2, with `Rel="Next"`.',
    "links-comma": (
        "As pages-of-2, with a parameter before `rel` that has a comma and a quotation mark in it."
    ),
    "links-several": "As pages-of-2, with other links before it, and several relations.",
    "links-plain": "As pages-of-2, with `rel=next`.",
    "links-bare": "As pages-of-2, with no angle brackets.",
    "links-empty": "As pages-of-2, with nothing between them.",
    "links-quotes": "As pages-of-2, with `rel='next'`.",
    "links-odd": 'Links to "http://[".',
    "links-long": "Links with 60 KiB.",
    "endless-names": "Every page has new names, and links to a next one.",
    "endless-same": "Every page has the same names, and links to a next one.",
    "endless-empty": "Every page has no names, and links to a next one.",
    "odd-names": "Lists names that are none among those that are.",
    "deep-json": "Answers listings with a million brackets.",
    # Blobs and manifests that are sent to it
    "upload-relative": "Says by a path alone where a blob is sent to.",
    "upload-scheme": "Says it with https, where it speaks http (as behind a proxy that ends TLS).",
    "upload-elsewhere": "Wants blobs at another host, which must not be told who we are.",
    "upload-nowhere": "Does not say where a blob is sent to.",
    "upload-lost": "Has forgotten the first upload when the blob is sent.",
    "upload-401": "Answers 401 to the first blob that is sent, and wants another token.",
    "upload-416": "Answers 416 to blobs.",
    "mounts-never": "Mounts nothing: it wants the bytes instead.",
    "mounts-405": "Answers 405 to mounts.",
    "put-404": "Answers 404 NAME_UNKNOWN to all that is sent.",
    "put-page": "Answers 200 and a web page to manifests, and stores none.",
    "put-empty": "Answers 201 and nothing to manifests, and stores none.",
    "put-bare": "Tells no digest of the manifests that it stored.",
    "blobs-page": "Answers 200 and a web page to blobs, and stores none.",
    "has-page": "Answers 200 and a web page to a HEAD of a blob.",
    "put-other-digest": "Stores manifests under another digest than theirs.",
    # The referrers API
    "referrers-400": "Answers 400 (as older Quay).",
    "referrers-401": "Answers 401 without a challenge (as Harbor before 2.8).",
    "referrers-403": "Answers 403.",
    "referrers-500": "Answers 500.",
    "referrers-break": "Has a second page of them, and answers 500 to it.",
    "referrers-302": "Redirects to a web page.",
}

IDENTITY = "identity-of-the-tests"
ODD_NAMES = ("a b", "../../etc/x", "x?y=z", "UPPER", "", "a//b", "café", "\x00", "n" * 500)
ODD_TAGS = ("sha256:0", "1.0+build", "-x", "a b", "", "t" * 200)
_LIMITED = ("rate-429", "rate-429-seconds", "rate-429-date", "rate-503")
_TOKENS = (
    "tokens", "tokens-new", "tokens-identity", "tokens-read-only", "tokens-401-scope",
    "realm-moves", "upload-401",
    "realm-path", "realm-odd", "tokens-302", "tokens-elsewhere",
)  # fmt: skip
_PAGED = (
    "pages-of-2", "links-upper", "links-comma", "links-several", "links-plain", "links-quotes",
    "links-bare",
    "links-empty",
)  # fmt: skip
_KEPT = ("accept", "content-type", "range")
_Answer = tuple[int, "list[tuple[str, str]]", bytes]


@dataclass
class _Bucket:
    """Takes `rate` requests per second, and `burst` at once."""

    rate: float
    burst: float
    left: float = field(init=False)
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.left = self.burst

    def take(self) -> bool:
        now = time.monotonic()
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class OddRegistry(Server):
    """In front of `behind`. `rate` and `burst`: how much it takes, where a quirk limits that."""

    def __init__(
        self, behind: RegistryServer, *quirks: str, rate: float = 50, burst: float = 20
    ) -> None:
        unknown = set(quirks) - QUIRKS.keys()
        if unknown:
            raise ValueError(f"no such quirks: {', '.join(sorted(unknown))}")
        self.quirks = set(quirks)
        self.asked: list[tuple[str, str]] = []  # method and target
        self.signed: list[str] = []  # the Authorization of each of them
        self.hosts: list[str] = []  # the Host of each of them
        self.tokens_asked: list[tuple[str, list[str]]] = []  # user or grant, and scopes
        self.refused = 0
        self._behind = behind
        self._bucket = _Bucket(rate, burst)
        self._first = True
        self._made: set[str] = set()  # repositories for which somebody may push
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                # skopeo tries TLS first, and is sent away at once.
                if self.connection.recv(1, 2) in (b"", b"\x16"):
                    self.close_connection = True
                    return
                super().handle()

            def __getattr__(self, name: str) -> Callable[[], None]:
                """The method for every HTTP method."""
                if name.startswith("do_"):
                    return lambda: outer._serve(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                pass

        class Threads(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._server = Threads(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="odd", daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def has(self, *names: str) -> bool:
        return not self.quirks.isdisjoint(names)

    def count(self, method: str, part: str = "") -> int:
        return sum(each == method and part in target for each, target in self.asked)

    # -------------------------------------------------------------------------------------- serving

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = _body(handler)
        with self._lock:
            self.asked.append((handler.command, handler.path))
            self.signed.append(handler.headers.get("Authorization", ""))
            self.hosts.append(handler.headers["Host"])
            answer = self._odd(handler, body)
        if answer is None:
            answer = self._after(handler, *self._pass_on(handler, body))
        status, headers, content = answer
        self.refused += status in (429, 503)
        is_head = handler.command == "HEAD"
        handler.send_response_only(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() != "content-length" or is_head:
                handler.send_header(name, value)
        if not is_head or "content-length" not in names:
            handler.send_header("Content-Length", str(0 if is_head else len(content)))
        if "date" not in names:
            handler.send_header("Date", formatdate(usegmt=True))
        handler.end_headers()
        if not is_head:
            handler.wfile.write(content)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> _Answer:
        connection = http.client.HTTPConnection(self._behind.host, timeout=60)
        headers = {"Host": handler.headers["Host"]}
        for name in _KEPT:
            if values := handler.headers.get_all(name):
                headers[name] = ", ".join(values)
        try:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        hop = ("connection", "transfer-encoding", "date")
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in hop]
        return answer.status, kept, content

    def _odd(self, handler: BaseHTTPRequestHandler, body: bytes) -> _Answer | None:
        """What is answered in place of the registry; None where it may answer."""
        target = urlsplit(handler.path)
        return (
            self._elsewhere(handler, target.path)
            or self._token(handler, body)
            or self._throttle(target.path)
            or self._challenge(handler, target.path)
            or self._head(handler, target.path)
            or self._instead(handler, target.path)
            or self._sent(handler, target.path)
            or self._list(handler)
            or self._referrers(handler.path)
        )

    def _after(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
    ) -> _Answer:
        if (
            self.has("put-other-digest")
            and handler.command == "PUT"
            and "/manifests/" in handler.path
        ):
            headers = [each for each in headers if each[0].lower() != "docker-content-digest"]
            headers.append(("Docker-Content-Digest", f"sha256:{'0' * 64}"))
        if (
            self.has("put-bare")
            and handler.command in ("PUT", "HEAD", "GET")
            and "/manifests/" in handler.path
        ):
            headers = [each for each in headers if each[0].lower() != "docker-content-digest"]
        if "/blobs/uploads/" in handler.path and handler.command == "POST":
            if self.has("upload-nowhere"):
                headers = [each for each in headers if each[0].lower() != "location"]
            elif self.has("upload-relative", "upload-scheme", "upload-elsewhere"):
                headers = [
                    (name, self._moved(value) if name.lower() == "location" else value)
                    for name, value in headers
                ]
        if self.has("head-bare") and "/manifests/" in handler.path:
            headers = [
                each for each in headers if each[0].lower() not in ("docker-content-digest", "etag")
            ]
        if self.has("odd-names") and status == 200:
            if "/tags/list" in handler.path:
                content = _with(content, "tags", ODD_TAGS)
            elif "/_catalog" in handler.path:
                content = _with(content, "repositories", ODD_NAMES)
        return status, headers, content

    # ----------------------------------------------------------------------------------- throttling

    def _throttle(self, path: str) -> _Answer | None:
        if self.has("bad-507") and "bad" in path:
            return _error(507, "UNKNOWN", "no space left", ("Retry-After", "1"))
        if self.has("bad-429") and "bad" in path:
            return _error(429, "TOOMANYREQUESTS", "slow down")
        if self.has("bad-503") and "bad" in path:
            return _error(503, "UNAVAILABLE", "busy")
        if self.has("first-429-date", "first-429-year") and self._first:
            self._first = False
            if self.has("first-429-year"):
                return _error(429, "TOOMANYREQUESTS", "slow down", ("Retry-After", "99999999999"))
            clock = time.time() + 86400
            dates = (
                ("Retry-After", formatdate(clock + 2, usegmt=True)),
                ("Date", formatdate(clock, usegmt=True)),
            )
            return _error(429, "TOOMANYREQUESTS", "slow down", *dates)
        if not self.has(*_LIMITED) or self._bucket.take():
            return None
        if self.has("rate-503"):
            return _error(503, "UNAVAILABLE", "busy")
        headers = []
        if self.has("rate-429-seconds"):
            headers = [("Retry-After", "1")]
        elif self.has("rate-429-date"):
            headers = [("Retry-After", formatdate(time.time() + 2, usegmt=True))]
        return _error(429, "TOOMANYREQUESTS", "slow down", *headers)

    # ----------------------------------------------------------------------------------- signing in

    def _challenge(self, handler: BaseHTTPRequestHandler, path: str) -> _Answer | None:
        said = handler.headers.get("Authorization", "")
        if self.has("upload-elsewhere") and handler.headers["Host"].startswith("localhost"):
            return None
        if self.has("long-challenge"):
            return _unauthorized('Bearer realm="' + "x" * 60 * 1024)
        if self.has("odd-challenge"):
            return _unauthorized("a" * 2500 + "!")
        if self.has("one-401") and "secret" in path:
            return _unauthorized('Basic realm="tests"')
        if self.has(
            "basic", "one-401", "hides-403", "hides-404", "upload-elsewhere"
        ) and said != basic(USER, PASSWORD):
            if path != "/v2/" and self.has("hides-403"):
                return _error(403, "DENIED", "no")
            if path != "/v2/" and self.has("hides-404"):
                return _error(404, "NAME_UNKNOWN", "not known")
            return _unauthorized('Basic realm="tests"')
        if self.has(*_TOKENS):
            return self._check_token(handler, said, path)
        return None

    def _check_token(self, handler: BaseHTTPRequestHandler, said: str, path: str) -> _Answer | None:
        found = re.match(r"/v2/(.+)/(manifests|blobs|tags|referrers)/", path)
        repository = found[1] if found else ""
        host = self.host
        if self.has("realm-moves") and self.tokens_asked:
            host = host.replace("127.0.0.1", "localhost")
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        realm = f"http://{host}/token"
        if self.has("realm-path"):
            realm = "/token"
        elif self.has("realm-odd"):
            realm = "http://["
        elif self.has("tokens-302", "tokens-elsewhere"):
            realm = f"http://{host}/moved"
        asks = f'Bearer realm="{realm}",service="tests"{scope}'
        if not said.startswith("Bearer "):
            return _unauthorized(asks)
        scopes = json.loads(base64.urlsafe_b64decode(said.removeprefix("Bearer ")))
        actions: set[str] = set()
        for each in scopes:
            _, _, rest = each.partition(":")
            name, _, allowed = rest.rpartition(":")
            if name == repository:
                actions |= set(allowed.split(","))
        if "push" in actions:
            self._made.add(repository)
        new = self.has("tokens-new") and repository and repository not in self._made
        writes = handler.command not in ("GET", "HEAD")
        if repository and (new or ("push" if writes else "pull") not in actions):
            return _unauthorized(asks)
        if self.has("realm-moves") and len(self.tokens_asked) == 1 and "/manifests/" in path:
            return _unauthorized(asks)
        return None

    def _token(self, handler: BaseHTTPRequestHandler, body: bytes) -> _Answer | None:
        target = urlsplit(handler.path)
        if target.path == "/moved":
            place = (
                self.url.replace("127.0.0.1", "localhost") if self.has("tokens-elsewhere") else ""
            )
            return 302, [("Location", f"{place}/token?{target.query}")], b""
        if target.path != "/token":
            return None
        said = handler.headers.get("Authorization", "")
        if handler.command == "POST":
            form = parse_qs(body.decode())
            scopes = form.get("scope", [""])[0].split()
            known = form.get("grant_type") == ["refresh_token"] and form.get("refresh_token") == [
                IDENTITY
            ]
            self.tokens_asked.append(("refresh_token", scopes))
            known = known and self.has("tokens-identity")
        else:
            scopes = parse_qs(target.query).get("scope", [])
            known = said == basic(USER, PASSWORD) and not self.has("tokens-identity")
            self.tokens_asked.append((USER if known else "", scopes))
        if not known or (self.has("tokens-401-scope") and any("secret" in each for each in scopes)):
            return _error(401, "UNAUTHORIZED", "wrong user or password")
        if self.has("tokens-read-only") and any("push" in each for each in scopes):
            return _error(403, "DENIED", "read only")
        text = json.dumps(scopes) + " " * len(self.tokens_asked)  # each token is another one
        token = base64.urlsafe_b64encode(text.encode()).decode()
        return _json(
            {"access_token" if handler.command == "POST" else "token": token, "expires_in": 300}
        )

    def _elsewhere(self, handler: BaseHTTPRequestHandler, path: str) -> _Answer | None:
        if not self.has("asks-elsewhere"):
            return None
        if handler.headers["Host"].startswith("localhost"):
            return _unauthorized('Basic realm="elsewhere"')
        if "/blobs/sha256:" in path:
            place = self.url.replace("127.0.0.1", "localhost") + path
            return 307, [("Location", place)], b""
        return None

    # --------------------------------------------------------------------------- what is sent to it

    def _instead(self, handler: BaseHTTPRequestHandler, path: str) -> _Answer | None:
        """What something before the registry answers."""
        page = 200, [("Content-Type", "text/html; charset=utf-8")], b"<html>Sign in</html>"
        quirks = {
            ("HEAD", "/blobs/sha256:"): ("has-page", page),
            ("PUT", "/blobs/uploads/"): ("blobs-page", page),
            ("PUT", "/manifests/"): ("put-page", page),
        }
        for (method, part), (quirk, answer) in quirks.items():
            if handler.command == method and part in path and self.has(quirk):
                return answer
        if handler.command == "PUT" and "/manifests/" in path and self.has("put-empty"):
            return 201, [], b""
        return None

    def _sent(self, handler: BaseHTTPRequestHandler, path: str) -> _Answer | None:
        if handler.command not in ("POST", "PUT", "PATCH"):
            return None
        if self.has("put-404"):
            return _error(404, "NAME_UNKNOWN", "no such repository")
        if handler.command == "POST" and "mount=" in handler.path:
            if self.has("mounts-405"):
                return _error(405, "UNSUPPORTED", "no mounts")
            if self.has("mounts-never"):
                handler.path = path
        if handler.command == "PUT" and "/blobs/uploads/" in path:
            if self.has("upload-416"):
                return _error(416, "RANGE_INVALID", "no")
            if self.has("upload-lost", "upload-401") and self._first:
                self._first = False
                if self.has("upload-401"):
                    return _unauthorized(f'Bearer realm="http://{self.host}/token",service="tests"')
                return _error(404, "BLOB_UPLOAD_UNKNOWN", "unknown upload")
        return None

    def _moved(self, place: str) -> str:
        """Where blobs are sent to, as it is said."""
        there = urlsplit(place)
        path = f"{there.path}?{there.query}"
        if self.has("upload-relative"):
            return path
        if self.has("upload-scheme"):
            return f"https://{self.host}{path}"
        return f"{self.url.replace('127.0.0.1', 'localhost')}{path}"

    # -------------------------------------------------------------------------- manifests, listings

    def _head(self, handler: BaseHTTPRequestHandler, path: str) -> _Answer | None:
        if handler.command == "HEAD" and "/manifests/" in path:
            for status in (400, 403, 404, 405):
                if self.has(f"head-{status}"):
                    return status, [], b""
        return None

    def _list(self, handler: BaseHTTPRequestHandler) -> _Answer | None:
        target = urlsplit(handler.path)
        asks_tags = target.path.endswith("/tags/list")
        if not asks_tags and target.path != "/v2/_catalog":
            return None
        query = parse_qs(target.query)
        wanted, last = query.get("n", [""])[0], query.get("last", [""])[0]
        if (self.has("pages-100") and int(wanted or 0) > 100) or (
            self.has("pages-never") and wanted
        ):
            return _error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        if self.has("deep-json"):
            return 200, [("Content-Type", "application/json")], b"[" * 1_000_000
        field_ = "tags" if asks_tags else "repositories"
        number = int(last.removeprefix("p") or 0) if re.fullmatch(r"p?\d*", last) else 0
        following = f"{target.path}?last=p{number + 1}"
        if self.has("links-odd"):
            return _json({field_: ["a"]}, ("Link", '<http://[>; rel="next"'))
        if self.has("links-long"):
            return _json(
                {field_: ["a"]}, ("Link", f'<{target.path}?last={"x" * 60 * 1024}>; rel="next"')
            )
        for name, names in (
            ("endless-names", [f"name-{number}-{each}" for each in range(100)]),
            ("endless-same", ["a", "b"]),
            ("endless-empty", []),
        ):
            if self.has(name):
                return _json({field_: names}, ("Link", f'<{following}>; rel="next"'))
        if self.has(*_PAGED):
            return self._two(target.path, field_, last)
        return None

    def _two(self, path: str, field_: str, last: str) -> _Answer:
        connection = http.client.HTTPConnection(self._behind.host, timeout=60)
        try:
            connection.request("GET", path)
            everything = sorted(json.loads(connection.getresponse().read())[field_])
        finally:
            connection.close()
        left = [name for name in everything if name > last]
        if len(left) <= 2:
            return _json({field_: left})
        place = f"<{path}?last={quote(left[1], safe='')}>"
        link = f'{place}; rel="next"'
        if self.has("links-upper"):
            link = f'{place}; Rel="Next"'
        elif self.has("links-comma"):
            link = rf'{place}; title="a, \"quoted\"; rel=prev, <b>" ; rel="next"'
        elif self.has("links-several"):
            link = (
                f'</first>; rel="first", </other>; rel="prev"; rel="next",,{place};rel="last  '
                'next"; type=x'
            )
        elif self.has("links-plain"):
            link = f"{place};rel=next"
        elif self.has("links-quotes"):
            link = f"{place}; rel='next'"
        elif self.has("links-bare"):
            link = f'{place.strip("<>")}; rel="next"'
        elif self.has("links-empty"):
            link = '<>; rel="next"'
        return _json({field_: left[:2]}, ("Link", link))

    def _referrers(self, path: str) -> _Answer | None:
        if "/referrers/" not in path:
            return None
        if self.has("referrers-break") and path.endswith("?n=2"):
            return _error(500, "UNKNOWN", "it broke")
        if self.has("referrers-break"):
            listed = json.dumps(
                {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
            ).encode()
            return 200, [("Content-Type", OCI_INDEX), ("Link", '<?n=2>; rel="next"')], listed
        if self.has("referrers-401"):
            return (
                401,
                [("Content-Type", "application/json")],
                b'{"errors":[{"code":"UNAUTHORIZED"}]}',
            )
        if self.has("referrers-302"):
            return 302, [("Location", f"{self.url}/v2/")], b""
        for status in (400, 403, 500):
            if self.has(f"referrers-{status}"):
                return _error(status, "UNKNOWN", "no such path")
        return None


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in (handler.headers.get("Transfer-Encoding") or ""):
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    pieces = []
    while size := int(handler.rfile.readline().partition(b";")[0], 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)


def _json(fields: dict[str, object], *headers: tuple[str, str], status: int = 200) -> _Answer:
    return status, [("Content-Type", "application/json"), *headers], json.dumps(fields).encode()


def _error(status: int, code: str, message: str, *headers: tuple[str, str]) -> _Answer:
    return _json({"errors": [{"code": code, "message": message}]}, *headers, status=status)


def _unauthorized(challenge: str) -> _Answer:
    return _error(401, "UNAUTHORIZED", "authentication required", ("WWW-Authenticate", challenge))


def _with(content: bytes, name: str, more: Sequence[str]) -> bytes:
    fields = json.loads(content)
    return json.dumps({**fields, name: [*fields[name], *more]}).encode()
