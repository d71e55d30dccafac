"""Where a hub connects to for its users, and what of the answers they are told.

The hub's settings allow 127.0.0.2 alone, where the servers of an attacker are. What stands at
127.0.0.1 is what only the hub's machine can reach.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.confinement import Confinement, _State
from dth.core.errors import EndpointRefused, HubError, Unreachable
from dth.core.network import Network
from dth.core.transport import ADDRESS_REFUSED, ConnectOptions, Transport
from dth.hub.auth import fetch_json
from dth.images.registry.client import RegistryAddress
from dth.images.registry.reference import Reference
from dth.images.skopeo import command as skopeo
from dth.images.skopeo import landlock
from dth.images.skopeo.gateway import open_gateway
from tests.engine import wait_for
from tests.hub import CREATE, Hub
from tests.servers.certificates import make_certificates
from tests.servers.registry import NEEDED, RegistryServer, artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from tests.servers.certificates import Certificates

WORDS = "words-of-the-inside"
OPTIONS = ConnectOptions()
# What a server answers: status, headers, body.
Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Answers as a test says, and remembers what it was asked."""

    def __init__(
        self,
        host: str,
        answer: Callable[[str], Answer] | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.answer = answer or (lambda _: (200, {}, WORDS.encode()))
        self.asked: list[str] = []
        self.signed: list[str] = []  # for a proxy
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                server.asked.append(f"{self.command} {self.path}")
                if signed := self.headers.get("proxy-authorization"):
                    server.signed.append(signed)
                self.rfile.read(int(self.headers.get("content-length") or 0))
                status, headers, body = server.answer(self.path)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_CONNECT = _do  # noqa: N815

            def log_message(self, format: str, *arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.host = f"{host}:{self.port}"
        self.url = f"http://{self.host}"
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.certificate, certificates.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def inside() -> Iterator[Server]:
    with Server("127.0.0.1") as server:
        yield server


@pytest.fixture
def outside() -> Iterator[Server]:
    with Server("127.0.0.2") as server:
        yield server


# -------------------------------------------------------------------------------------- one process


def confined_to(monkeypatch: pytest.MonkeyPatch, network: Network) -> None:
    monkeypatch.setattr(_State, "confinement", Confinement(network=network))


async def get(url: str, proxy: str = "") -> int:
    with Transport() as transport:
        return (await transport.send("GET", url, {}, options=ConnectOptions(proxy=proxy))).status


async def test_a_name_is_judged_by_where_it_leads_when_the_connection_is_made(
    inside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after rebinding: what was looked at before is the name alone."""
    confined_to(monkeypatch, Network())
    with pytest.raises(Unreachable, match="which its settings do not allow") as refused:
        await get(f"http://localhost:{inside.port}/")
    assert refused.value.code == ADDRESS_REFUSED
    assert inside.asked == []


async def test_a_name_that_leads_to_a_metadata_service_is_refused_where_all_else_is_allowed(
    inside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ipaddress

    nets = [ipaddress.ip_network(each) for each in ("127.0.0.0/8", "::1/128")]
    monkeypatch.setattr("dth.core.network.METADATA", tuple(nets))
    monkeypatch.setattr("dth.core.network.is_loopback", lambda _: False)
    confined_to(monkeypatch, Network(loopback=True, private=True))
    with pytest.raises(Unreachable, match="metadata service"):
        await get(f"http://localhost:{inside.port}/")
    assert inside.asked == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001", "127.1", "0"]
)
async def test_no_spelling_leads_to_this_machine(
    inside: Server, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    confined_to(monkeypatch, Network(private=True))
    with pytest.raises(Unreachable) as refused:
        await get(f"http://{host}:{inside.port}/")
    assert refused.value.code == ADDRESS_REFUSED
    assert inside.asked == []


async def test_a_proxy_is_judged_and_is_asked_for_nothing_that_would_be_refused(
    inside: Server, outside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    confined_to(monkeypatch, Network.read(["127.0.0.2/32"]))
    for proxy in (inside.url, f"socks5h://localhost:{inside.port}", f"http://127.1:{inside.port}"):
        with pytest.raises(Unreachable) as refused:
            await get("http://example.org/", proxy)
        assert refused.value.code == ADDRESS_REFUSED
    for host in ("169.254.169.254", "2852039166", "[::ffff:169.254.169.254]", "127.0.0.1"):
        for scheme in ("http", "https"):
            with pytest.raises(Unreachable) as refused:
                await get(f"{scheme}://{host}/latest", outside.url)
            assert refused.value.code == ADDRESS_REFUSED
    assert inside.asked == outside.asked == []
    assert await get("http://example.org/", outside.url) == 200


async def test_a_proxy_of_the_environment_is_asked_for_nothing_that_would_be_refused(
    outside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", outside.url)
    confined_to(monkeypatch, Network.read(["127.0.0.2/32"]))
    with pytest.raises(Unreachable) as refused:
        await get("http://169.254.169.254/latest")
    assert refused.value.code == ADDRESS_REFUSED
    assert outside.asked == []


async def test_an_address_is_judged_once_for_each_connection(
    outside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    confined_to(monkeypatch, Network.read(["127.0.0.2/32"]))
    judged: list[str] = []
    refusal = Network.refusal
    monkeypatch.setattr(
        Network, "refusal", lambda self, address: judged.append(address) or refusal(self, address)
    )
    with Transport() as transport:
        for _ in range(10):
            await transport.send("GET", outside.url, {}, options=OPTIONS)
    assert judged == ["127.0.0.2"]


async def test_a_command_connects_wherever_its_user_wants(inside: Server) -> None:
    assert await get(f"http://localhost:{inside.port}/") == 200


def test_an_issuer_leads_to_no_metadata_service(
    inside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.hub.auth.never", lambda address: str(address) == "127.0.0.1")
    with pytest.raises(HubError, match="where nothing may connect"):
        fetch_json(f"{inside.url}/.well-known/openid-configuration")
    assert inside.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_issuer_is_read_where_the_rules_allow_it(scheme: str, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path) if scheme == "https" else None
    ca = str(certificates.ca) if certificates else ""
    with Server("127.0.0.1", lambda _: (200, {}, b'{"issuer": "it"}'), certificates) as server:
        for network in (None, Network.read(["127.0.0.1/32"])):
            assert fetch_json(server.url, ca_bundle=ca, network=network) == {"issuer": "it"}
        with pytest.raises(HubError, match="cannot be read"):
            fetch_json(server.url, ca_bundle=ca, network=Network.read(["127.0.0.2/32"]))
        assert len(server.asked) == 2


# ------------------------------------------------------------------------------------------ one hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder: Path = tmp_path_factory.mktemp("hub")
    (folder / "data").mkdir(mode=0o700)
    (folder / "data/hub.yaml").write_text("network:\n  allow: [127.0.0.2/32]\n")
    with Hub(folder) as hub:
        hub.secret("keys", "test", "test")
        hub.keep_secret("login", username="me", password="password")
        yield hub


def objects(source: str, dest: str, **more: str) -> dict[str, str]:
    return {
        "srcBucket": "latest",
        "srcEndpoint": source,
        "srcAnonymous": "true",
        "destBucket": "there",
        "destEndpoint": dest,
        "destCredentials": "keys",
        **more,
    }


def images(source: str, dest: str, **more: str) -> dict[str, str]:
    return {
        "sourceType": "Registry",
        "srcRegistry": source,
        "srcImageList": "team/app:v1",
        "destType": "Registry",
        "destRegistry": dest,
        "destPrefix": "copies",
        "retries": "0",
        **more,
    }


def given(kind: str, values: dict[str, str]) -> dict[str, Any]:
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
    return {"type": kind, "scheduleType": "ONE_TIME", "parameters": parameters}


def told(hub: Hub, kind: str, values: dict[str, str], *, run: bool = True) -> str:
    """All that a user is told by the tests of both sides and the preflight, and with `run` by the
    forecast and the task itself."""
    found = []
    for operation, side in (
        ("testConnection", "SOURCE"), ("testConnection", "DESTINATION"), ("preflight", ""),
        *[("forecast", "")] * run
    ):  # fmt: skip
        declared, passed = (", $side: Side!", ", side: $side") if side else ("", "")
        query = (
            f"mutation ($input: CreateTaskInput!{declared}) {{ {operation}(input: "
            f"$input{passed}) {{ id }} }}"
        )
        variables = {"input": given(kind, values), **({"side": side} if side else {})}
        try:
            started = hub.call(query, **variables)
        except HubError as error:
            found.append(str(error))
            continue
        job: dict[str, Any] = {}

        def ended(id: str = started["id"], job: dict[str, Any] = job) -> bool:
            job.update(
                hub.call("query ($id: ID!) { getJob(id: $id) { state error result } }", id=id)
            )
            return bool(job["state"] != "RUNNING")

        wait_for(ended)
        found.append(json.dumps(job))
    if not run:
        return "\n".join(found)
    try:
        task = str(hub.call(CREATE, input=given(kind, values))["id"])
    except HubError as error:
        return "\n".join([*found, str(error)])
    wait_for(lambda: hub.task(task)["progress"] in ("ERROR", "DONE", "PAUSED"))
    records = hub.call(
        "query ($id: ID!) { listRecords(id: $id) { items { key reason detail } } }", id=task
    )
    found += [
        json.dumps([hub.task(task), hub.runs(task), records, list(hub.images(task).values())]),
        hub.logs(task),
    ]
    if hub.task(task)["progress"] == "PAUSED":
        hub.do("stopTask", task)
        hub.wait(task, "STOPPED")
    return "\n".join(found)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"]
)
def test_no_endpoint_leads_inside(hub: Hub, inside: Server, outside: Server, host: str) -> None:
    url = f"http://{host}:{inside.port}"
    for values in (
        objects(url, outside.url),
        objects(outside.url, url),
        objects(outside.url, outside.url, srcProxy=url),
        objects(outside.url, outside.url, destProxy=url),
    ):
        found = told(hub, "S3EC2", values, run=values["srcEndpoint"] == url)
        assert "which its settings do not allow" in found
    assert inside.asked == []


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
     "[fd00:ec2::254]", "100.100.100.200", "169.254.170.2"],
)  # fmt: skip
def test_a_metadata_service_is_refused_when_a_task_is_made(
    hub: Hub, outside: Server, host: str
) -> None:
    for values in (
        objects(f"http://{host}", outside.url),
        objects(outside.url, f"http://{host}"),
        objects(outside.url, outside.url, srcProxy=f"http://{host}"),
        objects(f"{outside.url},http://{host}", outside.url),
    ):
        with pytest.raises(HubError, match="link-local address or one of a metadata service"):
            hub.call(CREATE, input=given("S3EC2", values))
    registry = "169.254.169.254" if host == "2852039166" else host
    for values in (
        images(registry, outside.host),
        images(outside.host, f"{registry}:5000"),
        images(
            outside.host,
            "",
            destType="Amazon_ECR",
            destRegion="eu-west-1",
            destEndpoint=f"http://{host}",
        ),
    ):
        with pytest.raises(HubError, match="link-local address or one of a metadata service"):
            hub.call(
                CREATE, input=given("ECR", {name: value for name, value in values.items() if value})
            )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1"])
def test_no_registry_leads_inside(hub: Hub, inside: Server, outside: Server, host: str) -> None:
    place = f"{host}:{inside.port}"
    for values in (
        images(place, outside.host, srcPlainHttp="true"),
        images(outside.host, place, destPlainHttp="true"),
        images("", outside.host, sourceType="Public", srcImageList=f"{place}/team/app:v1"),
    ):
        assert "which its settings do not allow" in told(
            hub, "ECR", {k: v for k, v in values.items() if v}
        )
    assert inside.asked == []


def test_a_registry_sends_us_nowhere_inside(hub: Hub, inside: Server) -> None:
    """By its realm, a redirection or a next page."""

    def realm(path: str) -> Answer:
        return (
            401,
            {
                "www-authenticate": (
                    f'Bearer realm="http://localhost:{inside.port}/token",service="s"'
                )
            },
            b"{}",
        )

    def redirect(path: str) -> Answer:
        if path == "/v2/":
            return 200, {}, b"{}"
        return 307, {"location": f"http://localhost:{inside.port}/latest/meta-data/"}, b""

    for answer in (realm, redirect):
        with Server("127.0.0.2", answer) as registry:
            found = told(hub, "ECR", images(registry.host, registry.host, srcCredential="login"))
            assert "which its settings do not allow" in found
            assert registry.asked
    assert inside.asked == []


def test_an_endpoint_of_amazon_ecr_leads_nowhere_inside(
    hub: Hub, inside: Server, outside: Server
) -> None:
    ecr = {
        "srcRegion": "eu-west-1",
        "srcCredential": "keys",
        "destType": "Registry",
        "destRegistry": outside.host,
    }
    for host in ("127.0.0.1", "localhost"):
        found = told(hub, "ECR", {**ecr, "srcEndpoint": f"http://{host}:{inside.port}"})
        assert "which its settings do not allow" in found
    assert inside.asked == []
    # One that may be asked is, and botocore makes of its answer what it makes of any.
    outside.answer = lambda _: (
        400,
        {},
        json.dumps({"__type": "com#AccessDenied", "message": WORDS}).encode(),
    )
    found = told(hub, "ECR", {**ecr, "srcEndpoint": outside.url})
    assert outside.asked
    assert "AccessDenied" in found
    assert WORDS not in found


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, "<Error><Code>Odd</Code><Message>{}</Message></Error>"),
        (403, "<Error><Code>AccessDenied</Code><Message>{}</Message></Error>"),
        (403, "<Error><Code>{} and more</Code><Message>x</Message></Error>"),
        (400, "<Error><Code><![CDATA[<b>{}</b>]]></Code></Error>"),
        (
            301,
            (
                "<Error><Code>PermanentRedirect</Code><Endpoint>{} here</Endpoint><Region>{} "
                "there</Region></Error>"
            ),
        ),
        (307, "<Error><Endpoint>x.example.org/{}</Endpoint></Error>"),
        (500, "<Error><Code>InternalError</Code><Message>{}</Message><Header>{}</Header></Error>"),
        (404, "<html>{}</html>"),
        (200, "{}"),
        (200, "<{0}/>"),
        (
            200,
            "<ListBucketResult><Contents><Key>a</Key><Size>{}</Size></Contents></ListBucketResult>",
        ),
        (400, '{{"errors": [{{"code": "ODD", "message": "{}"}}]}}'),
        (401, '{{"errors": [{{"code": "{} and more", "message": "{}"}}]}}'),
        (403, '{{"errors": [{{"code": "DENIED", "message": "{}"}}]}}'),
        (404, '{{"errors": [{{"code": "MANIFEST_UNKNOWN", "message": "{}"}}]}}'),
        (403, "{}"),
    ],
)
def test_nobody_reads_more_of_an_answer_than_its_code_and_status(
    hub: Hub, status: int, body: str
) -> None:
    text = body.format(WORDS, WORDS)
    headers = {"location": f"http://127.0.0.2:1/{WORDS}"} if status in (301, 307) else {}
    with Server("127.0.0.2", lambda _: (status, headers, text.encode())) as server:
        run = status == 403
        assert WORDS not in told(
            hub, "S3EC2", objects(server.url, server.url, destPrefix="x"), run=run
        )
        assert server.asked
        assert WORDS not in told(hub, "ECR", images(server.host, server.host), run=run)


# ------------------------------------------------------------------------------------------- skopeo


async def test_skopeo_is_not_started_for_a_registry_that_leads_inside(
    inside: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    confined_to(monkeypatch, Network.read(["127.0.0.2/32"]))

    def side(host: str) -> skopeo.CopyEnd:
        return skopeo.CopyEnd(Reference(host, "team/app", "v1", ""), RegistryAddress(host))

    for pair in (
        (side(f"localhost:{inside.port}"), side("127.0.0.2:1")),
        (side("127.0.0.2:1"), side(f"127.1:{inside.port}")),
    ):
        with pytest.raises(EndpointRefused) as refused:
            await skopeo.copy(*pair, command="/bin/false")
        assert refused.value.code == ADDRESS_REFUSED
    assert inside.asked == []


BLOB = b"a layer"


def attacking(where: str) -> Callable[[str], Answer]:
    """A registry that leads elsewhere: by redirections of blobs, or by its service for tokens."""
    built = artifact("application/x", BLOB)
    kind = {"Content-Type": built.media_type, "Docker-Content-Digest": built.digest}

    def answer(path: str) -> Answer:
        if where.startswith("realm "):
            realm = f'Bearer realm="{where.removeprefix("realm ")}/token",service="x"'
            return 401, {"WWW-Authenticate": realm}, b"{}"
        if "/manifests/" in path:
            return 200, kind, built.body
        return (307, {"Location": f"{where}/layer"}, b"") if "/blobs/" in path else (200, {}, b"{}")

    return answer


def taking(path: str) -> Answer:
    """A registry that has nothing, and takes all."""
    if "/uploads/" in path:
        return 202, {"Location": "/v2/team/app/blobs/uploads/1"}, b""
    return (
        (200, {}, b"{}") if path == "/v2/" else (404, {}, b'{"errors": [{"code": "NAME_UNKNOWN"}]}')
    )


@NEEDED
@pytest.mark.parametrize(
    "where", ["http://127.0.0.1:{}", "http://localhost:{}", "http://name.test:{}"]
)
@pytest.mark.parametrize("by", ["", "realm "])
async def test_skopeo_is_led_nowhere_by_a_registry(
    inside: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str, where: str
) -> None:
    """To addresses of its machine it goes without any proxy: the kernel sees to these."""
    confined_to(monkeypatch, Network.read(["127.0.0.2/32"]))
    lead_here(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    leading = attacking(by + where.format(inside.port))
    with Server("127.0.0.2", leading) as source, Server("127.0.0.2", taking) as dest:
        sides = [
            skopeo.CopyEnd(
                Reference(each.host, "team/app", "v1", ""),
                RegistryAddress(each.host, plain_http=True),
            )
            for each in (source, dest)
        ]
        with pytest.raises(EndpointRefused) as refused:
            await skopeo.copy(*sides)
    assert refused.value.code == ADDRESS_REFUSED
    assert inside.asked == []
    assert WORDS not in str(refused.value)


def lead_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names below `test` lead to this machine."""
    found = socket.getaddrinfo

    def here(host: str, *rest: Any, **more: Any) -> Any:
        return found("127.0.0.1" if host.endswith(".test") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", here)


@NEEDED
@pytest.mark.parametrize("tls", [False, True])
async def test_skopeo_copies_through_the_gateway(
    monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """From a registry by its name, for which it asks a proxy, to another one, and to one at an
    address."""
    built = artifact("application/x", BLOB)
    confined_to(monkeypatch, Network(loopback=True))
    lead_here(monkeypatch)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", ".test")
    with RegistryServer(tls=tls) as source, RegistryServer() as dest:
        source.push("team/app", "v1", built)
        for host in (dest.host, dest.host.replace("127.0.0.1", "dest.test")):
            hosts = (source.host.replace("127.0.0.1", "source.test"), host)
            sides = [
                skopeo.CopyEnd(
                    Reference(each, "team/app", f"v{len(host)}", built.digest),
                    RegistryAddress(each, plain_http=True),
                )
                for each in hosts
            ]
            done = await skopeo.copy(*sides)
            assert done.digest == built.digest
            assert dest.digest("team/app", built.digest) == built.digest


@pytest.mark.parametrize(
    ("asked", "passed_on"),
    [
        ("CONNECT registry.test:443 HTTP/1.1", "CONNECT registry.test:443"),
        ("GET http://registry.test/v2/?n=1 HTTP/1.1", "GET http://registry.test/v2/?n=1"),
        ("GET http://169.254.169.254/ HTTP/1.1", None),
        ("CONNECT 2852039166:80 HTTP/1.1", None),
        ("CONNECT [::ffff:169.254.169.254]:80 HTTP/1.1", None),
    ],
)
async def test_the_gateway_asks_the_proxy_of_the_administrator(
    inside: Server, monkeypatch: pytest.MonkeyPatch, asked: str, passed_on: str | None
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:pass%40word@{inside.host}")
    async with open_gateway(Network(loopback=True)) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        writer.write(f"{asked}\r\nHost: x\r\nProxy-Authorization: mine\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert inside.asked == [passed_on] * (passed_on is not None)
    assert found.refused is (passed_on is None)
    assert answer.startswith(b"HTTP/1.1 403" if passed_on is None else b"HTTP/1.1 200")
    if passed_on:
        assert inside.signed == ["Basic " + base64.b64encode(b"user:pass@word").decode()]


@pytest.mark.parametrize(
    "asked", ["", "GET / HTTP/1.1", "x", "GET ftp://a.test/ HTTP/1.1", "CONNECT a:x HTTP/1.1"]
)
async def test_the_gateway_refuses_what_is_for_no_proxy(asked: str) -> None:
    async with open_gateway(Network(loopback=True)) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        writer.write(f"{asked}\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_each_connection_of_the_gateway_is_for_one_request(outside: Server) -> None:
    """What a proxy is asked for next may be for another host, which alone may see it."""
    outside.answer = lambda _: (
        200,
        {"Connection": "keep-alive", "Keep-Alive": "timeout=9"},
        b"words",
    )
    async with open_gateway(Network(loopback=True)) as found:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        head = "\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
        writer.write(f"GET {outside.url}/a?b=c HTTP/1.1{head}".encode())
        # The connection of the other side stays open.
        answer = await reader.readuntil(b"words")
        writer.close()
    assert outside.asked == ["GET /a?b=c"]
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nwords")
    assert b"keep-alive" not in answer.lower()


async def test_skopeo_is_not_started_where_it_cannot_be_kept_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confined_to(monkeypatch, Network())
    monkeypatch.setattr(landlock, "is_here", lambda: False)
    sides = [
        skopeo.CopyEnd(Reference(each, "team/app", "v1", ""), RegistryAddress(each))
        for each in ("a.test", "b.test")
    ]
    with pytest.raises(skopeo.Unusable, match="cannot keep skopeo from them"):
        await skopeo.copy(*sides, command="/bin/false")
