"""HTTP for what is small: manifests, lists of tags, tokens. The images themselves are moved by skopeo.

libcurl on a few threads, each with a handle that keeps its connections. Proxies are those of the environment
(`https_proxy`, `no_proxy`), as for skopeo.
"""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import pycurl

from dth.errors import ConnectionFailed, EndpointRefused, ObjectRefused, TransferError, Transient

LIMIT = 8 * 1024**2  # bytes of an answer; a manifest has four MiB at most
CONNECT_TIMEOUT = 10.0  # seconds
STALL_TIMEOUT = 30  # seconds without a byte
_UNREACHED = {
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_RESOLVE_PROXY,
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_OPERATION_TIMEDOUT,
    pycurl.E_SSL_CONNECT_ERROR,
}
_UNTRUSTED = {pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case; those that came twice are joined by commas
    body: bytes


class Http:
    """`ca_bundle`: a PEM file of the authorities to trust. `connections`: requests in flight at most."""

    def __init__(self, *, ca_bundle: str = "", connections: int = 16) -> None:
        self._ca_bundle = ca_bundle
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="registry")
        self._local = threading.local()
        self._handles: list[pycurl.Curl] = []
        self._closed = threading.Event()

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        limit: int = LIMIT,
    ) -> Answer:
        """One request; redirects are for the caller to follow. Raises TransferError when there is no whole answer."""
        given_up = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._perform, _Exchange(method, url, headers, body, limit, given_up)
            )
        except asyncio.CancelledError:
            given_up.set()
            raise

    def close(self) -> None:
        """End what is under way. Takes up to a second."""
        self._closed.set()
        self._threads.shutdown(cancel_futures=True)
        for handle in self._handles:
            handle.close()
        self._handles = []

    def _perform(self, exchange: "_Exchange") -> Answer:
        curl = getattr(self._local, "curl", None)
        if curl is None:
            curl = self._local.curl = pycurl.Curl()
            self._handles.append(curl)
        return exchange.perform(curl, self._ca_bundle, self._closed)


class _Exchange:
    """One request and its answer, on a thread."""

    def __init__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: int,
        given_up: threading.Event,
    ) -> None:
        self._method = method
        self._url = url
        self._headers = headers
        self._body = body
        self._limit = limit
        self._given_up = given_up
        self._found: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0

    def perform(self, curl: pycurl.Curl, ca_bundle: str, closed: threading.Event) -> Answer:
        curl.reset()  # the options, not the connections
        curl.setopt(pycurl.URL, self._url)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PATH_AS_IS, 1)
        curl.setopt(pycurl.TCP_NODELAY, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(CONNECT_TIMEOUT * 1000))
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        curl.setopt(pycurl.LOW_SPEED_TIME, STALL_TIMEOUT)
        if ca_bundle:
            curl.setopt(pycurl.CAINFO, ca_bundle)
        if self._method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif self._body is not None:
            curl.setopt(pycurl.CUSTOMREQUEST, self._method)
            curl.setopt(pycurl.POSTFIELDS, self._body)
        elif self._method != "GET":
            curl.setopt(pycurl.CUSTOMREQUEST, self._method)
        lines = [f"{name}: {value}" for name, value in self._headers.items()]
        curl.setopt(pycurl.HTTPHEADER, [*lines, "Expect:"])
        curl.setopt(pycurl.HEADERFUNCTION, self._header)
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_: self._given_up.is_set() or closed.is_set())
        try:
            curl.perform()
        except pycurl.error as error:
            raise self._explain(*error.args) from None
        return Answer(curl.getinfo(pycurl.RESPONSE_CODE), self._found, b"".join(self._chunks))

    def _header(self, line: bytes) -> None:
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            self._found.clear()  # what came before was the answer of a proxy, or 100 Continue
            return
        name, colon, value = text.partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            self._found[name] = f"{self._found[name]}, {value}" if name in self._found else value

    def _write(self, chunk: bytes) -> int:
        self._size += len(chunk)
        if self._size > self._limit:
            return -1  # ends the request
        self._chunks.append(chunk)
        return len(chunk)

    def _explain(self, code: int, message: str) -> TransferError:
        host = urlsplit(self._url).netloc
        if self._size > self._limit:
            return ObjectRefused(
                f"{host} sends more than the {self._limit} bytes that there can be", code="TooLarge"
            )
        said = " ".join(message.split()) or f"curl error {code}"
        if code in _UNTRUSTED:
            return EndpointRefused(f"{host} is not trusted: {said}", code="Untrusted", said=said)
        if code in _UNREACHED:
            return ConnectionFailed(f"{host} cannot be reached: {said}", code="ConnectionFailed", said=said)
        return Transient(f"{host} broke off: {said}", code="ConnectionLost", said=said)
