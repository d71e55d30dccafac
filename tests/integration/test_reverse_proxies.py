"""A hub behind the proxies of deploy/: everything passes, and nobody can say who they are not."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import psutil
import pytest

from tests.hub import Hub
from tests.identity import FORM, pkce
from tests.servers.reverse_proxy import Caddy, CaddyForSeveral, Nginx, ReverseProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

SOMEBODY = "127.0.0.2"


class Client:
    """Calls through the proxy, from an address of its own."""

    def __init__(self, proxy: ReverseProxy) -> None:
        self.proxy = proxy
        self._tls = ssl.create_default_context(cafile=str(proxy.certificates.ca))

    def send(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            self.proxy.port,
            timeout=30,
            context=self._tls,
            source_address=(SOMEBODY, 0),
        )
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read().decode()
        connection.close()
        return found

    def ask(self, hub: Hub, query: str) -> Any:
        body = json.dumps({"query": query}).encode()
        status, _, text = self.send("POST", "/graphql", body, authorization=f"Bearer {hub.token}")
        assert status == 200, text
        return json.loads(text)["data"]


@pytest.fixture(
    scope="module", params=[Nginx, Caddy, CaddyForSeveral], ids=lambda kind: kind.__name__
)
def behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Hub, Client]]:
    folder = tmp_path_factory.mktemp("proxy")
    folder.chmod(0o755)
    proxy = request.param(folder)
    with Hub(folder, "--public-url", proxy.url) as hub:
        [port] = {
            each.laddr.port
            for each in psutil.Process(hub.process.pid).net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        }
        proxy.start(port)
        with proxy:
            yield hub, Client(proxy)


def test_console_api_and_probes_pass(behind: tuple[Hub, Client]) -> None:
    hub, client = behind
    status, headers, page = client.send("GET", "/tasks/any")
    assert (status, '<div id="root">' in page) == (200, True)
    assert headers["strict-transport-security"] == "max-age=63072000"
    assert json.loads(client.send("GET", "/config.json")[2])["url"] == client.proxy.url
    assert client.send("GET", "/readyz")[2] == "ready\n"
    assert client.ask(hub, "{ listSecrets { name } }") == {"listSecrets": []}


def test_the_hub_knows_the_address_of_whoever_calls(behind: tuple[Hub, Client]) -> None:
    hub, client = behind
    query = {
        "response_type": "code",
        "client_id": "dth-console",
        "redirect_uri": f"{client.proxy.url}/auth/callback",
        "scope": "openid",
        "state": "s",
        "nonce": "n",
        "code_challenge": pkce()[1],
        "code_challenge_method": "S256",
    }
    status, headers, page = client.send("GET", f"/oidc/authorize?{urlencode(query)}")
    assert status == 200, page
    state = re.search(r'name="state" value="([^"]*)"', page)
    assert state, page
    cookies = "; ".join(line.partition(";")[0] for line in headers.get_all("set-cookie") or [])
    form = urlencode({"state": unescape(state[1]), "name": "admin", "password": "wrong"}).encode()
    pretended = {"x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9"}
    more = {"content-type": FORM, "cookie": cookies, **pretended}
    status, _, page = client.send("POST", "/oidc/authorize", form, **more)
    assert status == 403, page
    noted = client.ask(hub, "{ listAudit { items { what detail } } }")
    [failure] = [
        json.loads(each["detail"])
        for each in noted["listAudit"]["items"]
        if each["what"] == "signIn"
    ]
    assert failure == {"address": SOMEBODY, "why": "wrong"}


def test_large_requests_pass_up_to_the_limit_of_the_hub(behind: tuple[Hub, Client]) -> None:
    """nginx refuses more itself."""
    hub, client = behind
    token = {"authorization": f"Bearer {hub.token}"}
    status, _, said = client.send("POST", "/graphql", b"x" * 2_000_000, **token)
    assert (status, "is not JSON" in said) == (400, True)
    status, _, said = client.send("POST", "/graphql", b"x" * 2_200_000, **token)
    assert status == 413 or (status, "more than 2097152 bytes" in said) == (400, True)
