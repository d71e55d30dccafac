"""How the command line understands what a hub answers, on one machine and on AWS."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner

from dth.cli.iam import region_of, signed
from dth.cli.login import _port, login
from dth.core.errors import Forbidden, HubError, NotFound, Unauthenticated, UsageError
from dth.hub.client import HubClient, with_token

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
    yield HubClient(f"http://127.0.0.1:{server.server_port}", with_token(lambda: "token"))
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


def test_a_token_stands_alone() -> None:
    """AppSync takes no other, and CloudFront in China cannot change it on the way."""
    assert with_token(lambda: "token")("https://hub.example.org/graphql", b"{}") == {
        "authorization": "token"
    }


@pytest.mark.parametrize(("given", "port"), [(8976, 8976), (None, 0), ("8976", 0)])
def test_a_hub_may_say_to_which_port_the_browser_comes_back(given: object, port: int) -> None:
    assert _port({"cliPort": given} if given else {}) == port


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://abc123.appsync-api.eu-west-1.amazonaws.com/graphql", "eu-west-1"),
        ("https://abc123.appsync-api.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://hub.example.org", ""),
        ("https://abc123.appsync-api.eu-west-1.amazonaws.com.example.org", ""),
    ],
)
def test_an_address_of_appsync_says_where_to_sign_for(
    url: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DTH_AUTH", raising=False)
    assert region_of(url) == region


def test_the_environment_can_say_that_calls_are_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DTH_AUTH", "IAM")
    with pytest.raises(UsageError, match="DTH_AUTH: 'IAM' is not known"):
        region_of("https://hub.example.org")
    monkeypatch.setenv("DTH_AUTH", "iam")
    with pytest.raises(UsageError, match="set AWS_REGION"):
        region_of("https://hub.example.org")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert region_of("https://hub.example.org") == "eu-west-1"


def test_who_has_no_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Unauthenticated, match="there are no AWS credentials"):
        signed("eu-west-1")("https://hub.example.org/graphql", b"{}")
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(Unauthenticated, match=r"cannot be signed: .*missing"):
        signed("eu-west-1")("https://hub.example.org/graphql", b"{}")


def test_where_calls_are_signed_nobody_signs_in() -> None:
    asked = CliRunner().invoke(
        login, ["--hub", "https://abc123.appsync-api.eu-west-1.amazonaws.com/graphql"]
    )
    assert isinstance(asked.exception, UsageError)
    assert "needs no sign-in" in str(asked.exception)
