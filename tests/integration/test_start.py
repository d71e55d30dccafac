"""How a command begins: where it takes its stores from, and that what cannot work is told at once,
with its side and its cure, before anything is started."""

from __future__ import annotations

import base64
import contextlib
import http.server
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import ConnectionFailed, UsageError
from dth.core.transport import Transport
from dth.objects.checks.notes import SideTrouble
from dth.objects.parameters import S3Parameters
from dth.objects.store.aws_config import CA_VARIABLES
from dth.objects.store.credentials import FileSecrets
from dth.objects.store.endpoints import resolve_endpoint
from dth.objects.task import open_source
from tests.engine import Done, Dth, Side, between, bodies
from tests.servers.certificates import make_certificates
from tests.servers.process import listening_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.servers.certificates import Certificates
    from tests.servers.ministack import MiniStack
    from tests.servers.proxy import Proxy


@pytest.fixture(autouse=True)
def authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the machine that runs the tests do not matter."""
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Odd(http.server.ThreadingHTTPServer):
    """A server that answers everything in one way."""

    daemon_threads = True

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        odd = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                odd.requests += 1
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - names of the standard library

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = 0

    def handle_error(self, *_: object) -> None:
        pass

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def odd() -> Iterator[Callable[..., Odd]]:
    with contextlib.ExitStack() as ends:

        def start(
            status: int = 200,
            headers: Mapping[str, str] | None = None,
            body: bytes = b"",
            certificates: Certificates | None = None,
        ) -> Odd:
            server = Odd(status, headers or {}, body)
            if certificates:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificates.certificate, certificates.key)
                server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            ends.callback(server.server_close)
            ends.callback(server.shutdown)
            return server

        yield start


def refused(done: Done) -> str:
    """The one line of a command that started nothing."""
    assert (done.code, done.out) == (2, ""), done
    [line] = done.err.splitlines()
    return line.removeprefix("dth: ")


def configure(dth: Dth, text: str) -> None:
    folder = dth.home / ".aws"
    folder.mkdir(exist_ok=True)
    (folder / "config").write_text(text)
    dth.env |= {"AWS_CONFIG_FILE": str(folder / "config")}


# --------------------------------------------------------------------------------- what cannot work

TEMPORARY = (
    b"<Error><Code>TemporaryRedirect</Code><Message>Use the endpoint</Message>"
    b"<Endpoint>src.s3.us-west-2.amazonaws.com</Endpoint></Error>"
)


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    ("status", "headers", "body", "told"),
    [
        (
            301,
            {"Location": "https://s3.example.org/src"},
            b"<html>Moved</html>",
            (
                "redirects to https://s3.example.org/src",
                "use https://s3.example.org as --{opt}-endpoint-url",
            ),
        ),
        (
            302,
            {"Location": "https://login.example.org/?next=x"},
            b"",
            ("redirects to https://login.example.org/", "--{opt}-endpoint-url"),
        ),
        (
            307,
            {},
            TEMPORARY,
            (
                "redirects to src.s3.us-west-2.amazonaws.com",
                "use https://s3.us-west-2.amazonaws.com as",
            ),
        ),
        (
            403,
            {},
            b"<html><body>Forbidden by WAF</body></html>",
            ("answers with a web page", "--{opt}-endpoint-url"),
        ),
        (
            200,
            {"Content-Type": "text/html"},
            b"\n<!DOCTYPE html><html>Welcome</html>",
            ("with a web page",),
        ),
        (200, {}, b"hello", ("does not answer as S3 does",)),
        (204, {}, b"", ("its answer to a listing is empty",)),
        (404, {}, b"no such page", ("or no S3 at all", "--{opt}-endpoint-url")),
        (
            403,
            {},
            b"<Error><Code>InvalidAccessKeyId</Code></Error>",
            ("does not know the access key", "environment"),
        ),
        (
            403,
            {},
            b"<Error><Code>AccessDenied</Code></Error>",
            ("access to 'src' at http://", "is denied"),
        ),
    ],
    ids=str,
)
def test_an_answer_that_is_not_of_a_store_is_told_at_once(
    dth: Dth,
    s3_a: MiniStack,
    bucket_a: str,
    odd: Callable[..., Odd],
    side: str,
    status: int,
    headers: dict[str, str],
    body: bytes,
    told: tuple[str, ...],
) -> None:
    server = odd(status, headers, body)
    ends = [Side(s3_a, bucket_a).url, s3_a.url]
    wrong = ["s3://src", f"http://{server.address}"]
    (src, src_url), (dst, dst_url) = (wrong, ends) if side == "source" else (ends, wrong)
    urls = ("--src-endpoint-url", src_url, "--dst-endpoint-url", dst_url)
    line = refused(dth.here("s3", "sync", src, dst, *urls))
    assert line.startswith(f"{side}: ")
    assert server.address in line
    for part in told:
        assert part.format(opt="src" if side == "source" else "dst") in line
    assert server.requests == 1
    assert not dth.states.exists()


def test_http_and_https_that_do_not_fit_are_told(
    dth: Dth, s3_a: MiniStack, s3_tls: MiniStack
) -> None:
    wrong = s3_a.url.replace("http:", "https:")
    line = refused(dth.here("s3", "ls", "s3://src", "--src-endpoint-url", wrong))
    assert f"the server at {wrong} does not speak TLS" in line
    assert f"write http:// in --endpoint-url ({s3_a.url})" in line
    # Without a scheme, https was assumed.
    assert (
        refused(
            dth.here("s3", "ls", "s3://src", "--src-endpoint-url", s3_a.url.removeprefix("http://"))
        )
        == line
    )
    plain = s3_tls.url.replace("https:", "http:")
    line = refused(dth.here("s3", "ls", "s3://src", "--src-endpoint-url", plain))
    assert f"https:// in --endpoint-url ({s3_tls.url})" in line


@pytest.mark.parametrize(
    "said", ["connection timed out after 10000 milliseconds", "connection reset by peer"]
)
def test_a_server_that_does_not_understand_tls_may_not_answer(said: str) -> None:
    endpoint = resolve_endpoint(url="https://127.0.0.1:9000")
    error = ConnectionFailed(f"127.0.0.1:9000: {said}")
    todo = SideTrouble.of(error, "source", endpoint, "bucket").todo
    assert todo.startswith(
        "write http:// in srcEndpoint (http://127.0.0.1:9000) if it speaks no TLS"
    )


def test_a_certificate_that_is_not_trusted_is_told(
    dth: Dth, odd: Callable[..., Odd], s3_tls: MiniStack, tmp_path: Path
) -> None:
    line = refused(dth.here("s3", "ls", "s3://src", "--src-endpoint-url", s3_tls.url))
    assert line.startswith(f"the TLS certificate of {s3_tls.url} is not trusted")
    assert "--ca-bundle" in line
    server = odd(certificates=make_certificates(tmp_path, expired=True))
    options = (
        "--src-endpoint-url",
        f"https://{server.address}",
        "--src-ca-bundle",
        tmp_path / "ca.pem",
    )
    line = refused(dth.here("s3", "ls", "s3://src", *options))
    assert "has expired" in line
    assert server.requests == 0


def test_authorities_that_cannot_be_read_are_told(
    dth: Dth, s3_tls: MiniStack, tmp_path: Path
) -> None:
    url = ("--src-endpoint-url", s3_tls.url)
    line = refused(dth.here("s3", "ls", "s3://src", *url, "--src-ca-bundle", "/not/there.pem"))
    assert line == "there is no file of authorities /not/there.pem (--ca-bundle)"
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        dth.env |= {name: "/not/here.pem"}
        line = refused(dth.here("s3", "ls", "s3://src", *url))
        assert line == f"there is no file of authorities /not/here.pem ({name})"
        del dth.env[name]
    (tmp_path / "rubbish.pem").write_text("no certificate")
    line = refused(
        dth.here("s3", "ls", "s3://src", *url, "--src-ca-bundle", tmp_path / "rubbish.pem")
    )
    assert "--ca-bundle" in line


def test_who_cannot_be_found_is_told(dth: Dth) -> None:
    line = refused(
        dth.here("s3", "ls", "s3://src", "--src-endpoint-url", "http://no-such-host.invalid")
    )
    assert line.startswith("the host name of http://no-such-host.invalid cannot be resolved")
    with listening_socket() as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    line = refused(dth.here("s3", "ls", "s3://src", "--src-endpoint-url", closed))
    assert line.startswith(f"no server takes connections at {closed}")


def test_trouble_of_the_store_is_left_to_the_run(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    from tests.servers.proxy import SlowDown

    source.put(bodies("a"))
    proxy_a.rule(SlowDown(), method="GET", nth=1)
    assert dth.sync(Side(proxy_a, source.bucket), dest)["transferred"] == 1


def test_a_source_that_may_not_be_listed_needs_no_listing_for_a_manifest(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    from tests.servers.proxy import Reply

    source.put(bodies(["a", "b"]))
    proxy_a.rule(Reply(403, "AccessDenied"), method="GET", key="^$")
    (dth.home / "keys.txt").write_text("a\n")
    options = ("--manifest", dth.home / "keys.txt")
    assert dth.sync(Side(proxy_a, source.bucket), dest, *options)["transferred"] == 1


def test_keys_of_a_profile_that_are_wrong_name_the_profile(dth: Dth, s3_auth: MiniStack) -> None:
    bucket = s3_auth.bucket()
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    access_key, _ = s3_auth.user({"Version": "2012-10-17", "Statement": [statement]})
    configure(
        dth,
        f"[profile wrong]\nendpoint_url = {s3_auth.url}\n"
        f"aws_access_key_id = {access_key}\naws_secret_access_key = not-that\n",
    )
    line = refused(dth.here("s3", "ls", f"s3://{bucket}", "--src-profile", "wrong"))
    assert line.startswith("the secret key is not that of the access key")
    assert s3_auth.url in line
    assert "the profile 'wrong' (--profile)" in line
    s3_auth.drop(bucket)


def test_a_code_of_mfa_cannot_be_asked_for_without_a_terminal(dth: Dth, source: Side) -> None:
    configure(
        dth,
        "[profile base]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[profile mfa]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/me\n",
    )
    options = ("--src-profile", "mfa", "--src-endpoint-url", source.server.url)
    done = dth.run("s3", "ls", source.url, *options)
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert "credentials are not available: the profile asks for an MFA code" in last


def test_an_acl_that_was_asked_for_and_not_set_is_no_success(
    dth: Dth, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    from tests.servers.proxy import Reply

    source.put(bodies("a"))
    proxy_b.rule(
        Reply(400, "AccessControlListNotSupported", "The bucket does not allow ACLs"),
        method="PUT",
        nth=1,
    )
    found = dth.sync(source, Side(proxy_b, dest.bucket), "--acl", "public-read", code=1)
    [failure] = found["failures"]
    assert (failure["key"], failure["code"]) == ("a", "AccessControlListNotSupported")
    assert dest.listed() == []
    options = ("--acl", "public-read", "--dst-type", "Cloudflare_R2")
    line = refused(dth.here("s3", "sync", *between(source, dest), *options))
    assert line == "destination: Cloudflare_R2 takes no ACLs; leave out the ACL"


# ------------------------------------------------------------------ where the stores are taken from


def test_variables_say_where_a_side_without_options_is(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        dth.env |= {name: source.server.url}
        assert "2 objects" in dth.here("s3", "ls", source.url).err
        # The destination has an option of its own.
        options = ("--dst-endpoint-url", dest.server.url)
        done = dth.run("s3", "sync", source.url, dest.url, *options, "--quiet")
        assert done.code == 0, done
        del dth.env[name]
    assert dest.listed() == ["a", "b"]


def test_each_side_has_its_profile(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    keys = "aws_access_key_id = test\naws_secret_access_key = test\n"
    configure(
        dth,
        f"[profile here]\nendpoint_url = {source.server.url}\n{keys}[profile there]\nservices = "
        f"there\n{keys}[services there]\ns3 =\n  endpoint_url = {dest.server.url}\n",
    )
    profiles = ("--src-profile", "here", "--dst-profile", "there")
    done = dth.run("s3", "sync", source.url, dest.url, *profiles, "-v", "--quiet")
    assert done.code == 0, done
    assert dest.listed() == ["a", "b"]
    shown = done.err.splitlines()
    assert f"source: endpoint {source.server.url} (profile here), type S3_Compatible" in shown
    assert f"destination: endpoint {dest.server.url} (profile there), type S3_Compatible" in shown
    assert "source: credentials: profile here" in shown
    shown = dth.here("s3", "ls", source.url, "--src-profile", "here", "--verbose").err.splitlines()
    assert f"source: endpoint {source.server.url} (profile here), type S3_Compatible" in shown
    assert dth.here("s3", "diff", source.url, dest.url, *profiles, "-v").code == 0


def test_authorities_of_the_environment_are_trusted(dth: Dth, s3_tls: MiniStack) -> None:
    bucket = s3_tls.bucket()
    url = ("--src-endpoint-url", s3_tls.url)
    for name in ("AWS_CA_BUNDLE", *CA_VARIABLES):
        dth.env |= {name: str(s3_tls.ca)}
        assert dth.here("s3", "ls", f"s3://{bucket}", *url).code == 0
        del dth.env[name]
    configure(
        dth,
        (
            f"[profile own]\nca_bundle = {s3_tls.ca}\naws_access_key_id = "
            "test\naws_secret_access_key = test\n"
        ),
    )
    assert dth.here("s3", "ls", f"s3://{bucket}", *url, "--src-profile", "own").code == 0
    s3_tls.drop(bucket)


def test_another_store_in_the_environment_is_another_command(
    dth: Dth, s3_a: MiniStack, s3_b: MiniStack, source: Side, dest: Side
) -> None:
    state = dth.home / "state"
    source.put(bodies("a"))
    command = (
        "s3",
        "sync",
        source.url,
        dest.url,
        "--dst-endpoint-url",
        dest.server.url,
        "--quiet",
        "--state",
        state,
    )
    dth.env |= {"AWS_ENDPOINT_URL": source.server.url}
    assert dth.run(*command).code == 0
    other = s3_b if source.server is s3_a else s3_a
    other.boto().create_bucket(Bucket=source.bucket)
    dth.env |= {"AWS_ENDPOINT_URL": other.url}
    assert "belongs to another task" in refused(dth.run(*command))
    other.drop(source.bucket)


def test_an_endpoint_can_be_given_several_times(dth: Dth, source: Side, proxy_a: Proxy) -> None:
    source.put(bodies("ab"))
    urls = ("--src-endpoint-url", source.server.url, "--src-endpoint-url", proxy_a.url)
    done = dth.here("s3", "ls", source.url, *urls, "-v")
    assert done.code == 0
    assert f"source: endpoint {source.server.url}, {proxy_a.url} (--src-endpoint-url)" in done.err
    line = refused(dth.here("s3", "ls", source.url, *urls, "--src-endpoint-url", "https://x"))
    assert "are not all of one scheme" in line


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ceph:src", "write s3://src with --endpoint-url and --profile"),
        ("s3://sp ace/x", "the name of a bucket never contains ' '"),
        ("s3://what?x", "the name of a bucket never contains '?'"),
        ("ceph:", "write s3://bucket/prefix with"),
        ("S3://src", "write s3:// in small letters"),
        ("photos", "write s3://photos"),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/p", "write s3://arn:aws:s3:"),
        ("gs://src", "only s3://bucket/prefix"),
        ("photos", "for a folder ./photos"),
    ],
)
def test_what_is_no_url_is_told_what_to_write(dth: Dth, url: str, told: str) -> None:
    assert told in refused(dth.here("s3", "ls", url))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sync s3://a s3://b --bwlimit 1M", "--max-bytes-per-second"),
        ("sync s3://a s3://b --include-from x", "--files-from"),
        ("sync s3://a s3://b --transfers 8", "--concurrency"),
        ("sync s3://a s3://b -n", "--dry-run"),
        ("sync s3://a s3://b --delete", "--delete-mode Mirror"),
        ("cp s3://a s3://b", "dth s3 sync"),
        ("copy s3://a s3://b", "dth s3 sync"),
        ("cat s3://a/b", "dth s3 cp URL -"),
        ("purge s3://a/b", "dth s3 rm"),
        ("mirror s3://a s3://b", "--delete-mode Mirror"),
    ],
)
def test_names_of_other_tools_lead_to_ours(dth: Dth, words: str, told: str) -> None:
    assert told in refused(dth.here("s3", *words.split()))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("ls s3://a", "the command for objects is dth s3 ls"),
        ("sync s3://a s3://b", "the command for objects is dth s3 sync"),
        ("mirror s3://a s3://b", "--delete-mode Mirror"),
    ],
)
def test_commands_for_objects_are_in_their_group(dth: Dth, words: str, told: str) -> None:
    assert told in refused(dth.here(*words.split()))


def test_authorities_of_a_store_without_tls_need_be_there_only_if_asked_for(
    dth: Dth, source: Side
) -> None:
    command = ("s3", "ls", source.url, "--endpoint-url", source.server.url)
    typed = refused(dth.here(*command, "--ca-bundle", "/no"))
    assert "there is no file of authorities /no (--ca-bundle)" in typed
    assert "source" not in typed
    dth.env |= {"AWS_CA_BUNDLE": "/no"}
    assert dth.here(*command).code == 0


def test_classes_and_encryption_have_the_names_of_their_stores(
    dth: Dth, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies("a"))
    there = Side(proxy_b, dest.bucket)
    dth.run(
        "s3",
        "sync",
        *between(source, there),
        "--storage-class",
        "ssd-pool",
        "--sse",
        "aws:kms",
        "--quiet",
    )
    [put] = proxy_b.seen("PUT")[:1]
    assert put.headers.get("x-amz-storage-class") == "ssd-pool"
    assert put.headers.get("x-amz-server-side-encryption") == "aws:kms"


# ------------------------------------------------------------------------------------ customer keys

KEY = bytes(range(32))
ENCODED = base64.b64encode(KEY)


async def customer_key(tmp_path: Path, **parameters: str) -> bytes:
    """The key that the source is opened with."""
    transport = Transport()
    given = S3Parameters.model_validate(
        {"src_bucket": "b", "src_endpoint": "http://127.0.0.1:9", **parameters}
    )
    try:
        return (await open_source(given, transport, FileSecrets(tmp_path))).endpoint.customer_key
    finally:
        transport.close()


@pytest.mark.parametrize("content", [KEY, ENCODED, ENCODED + b"\n"])
async def test_a_customer_key_comes_from_a_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    assert await customer_key(tmp_path, src_sse_customer_key=f"file:{tmp_path / 'key'}") == KEY
    assert await customer_key(tmp_path) == b""


async def test_a_customer_key_comes_from_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(f'{{"sse_customer_key": "{ENCODED.decode()}"}}')
    file.chmod(0o600)
    assert await customer_key(tmp_path, src_sse_customer_key="mine") == KEY
    for text in ('{"sse_customer_key": "c2hvcnQ="}', '{"access_key_id": "x"}', "[]", "no json"):
        file.write_text(text)
        with pytest.raises(UsageError, match="secret 'mine' is not JSON of the form") as error:
            await customer_key(tmp_path, src_sse_customer_key="mine")
        assert "c2hvcnQ" not in str(error.value)


def test_a_customer_key_that_is_none_is_told(dth: Dth, source: Side) -> None:
    url = ("--src-endpoint-url", source.server.url)
    line = refused(dth.here("s3", "ls", source.url, *url, "--src-sse-c-key-file", "/not/there"))
    assert line == "source: the customer key /not/there cannot be read: No such file or directory"
    (dth.home / "short").write_text("hunter2")
    line = refused(
        dth.here("s3", "ls", source.url, *url, "--src-sse-c-key-file", dth.home / "short")
    )
    assert "holds no customer key: 32 bytes, or their base64" in line
    assert "hunter2" not in line
    options = ("--src-sse-c-key-file", dth.home / "short", "--src-sse-c-secret", "name")
    assert "not both" in refused(dth.here("s3", "ls", source.url, *url, *options))
    options = ("--dst-sse-c-key-file", "short", "--hub", "http://127.0.0.1:9")
    line = refused(dth.here("s3", "sync", source.url, "s3://b", *options))
    assert "--hub takes customer keys from its secrets" in line


def test_a_customer_key_is_in_no_state(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    (dth.home / "key").write_bytes(ENCODED)
    state = dth.home / "state"
    options = ("--src-sse-c-key-file", "key", "--state", state, "--quiet")
    assert dth.run("s3", "sync", *between(source, dest), *options).code == 0
    for file in state.rglob("*"):
        assert not file.is_file() or not any(text in file.read_bytes() for text in (KEY, ENCODED))
