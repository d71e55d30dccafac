"""How the command line understands what a hub answers, on one machine and on AWS."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from dth.cli.login import _port
from dth.errors import Forbidden, HubError, NotFound, Unauthenticated, UsageError
from dth.hub.client import HubClient

ANSWERS: list[tuple[int, dict[str, Any]]] = []


@pytest.fixture
def hub() -> Iterator[HubClient]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, answer = ANSWERS.pop()
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield HubClient(f"http://127.0.0.1:{server.server_port}", lambda: "token")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (200, {"extensions": {"code": "NOT_FOUND"}}, NotFound),
        (200, {"errorType": "NOT_FOUND"}, NotFound),
        (200, {"errorType": "BAD_INPUT"}, UsageError),
        (401, {"errorType": "UnauthorizedException"}, Unauthenticated),
        (200, {"errorType": "Unauthorized"}, Forbidden),
        (200, {"errorType": "Lambda:Unhandled"}, HubError),
    ],
)
def test_an_error_is_what_its_code_says(
    hub: HubClient, status: int, told: dict[str, Any], kind: type[HubError]
) -> None:
    ANSWERS.append((status, {"data": None, "errors": [{"message": "what is wrong", **told}]}))
    with pytest.raises(kind, match="what is wrong") as found:
        hub.call("{ x }")
    assert type(found.value) is kind


@pytest.mark.parametrize(("given", "port"), [(8976, 8976), (None, 0), ("8976", 0)])
def test_a_hub_may_say_to_which_port_the_browser_comes_back(given: object, port: int) -> None:
    assert _port({"cliPort": given} if given else {}) == port
