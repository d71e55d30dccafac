"""A probe of one side against real stores: what is there is shown, each trouble has a sentence of
its own, and nothing is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import HubError
from dth.core.transport import Transport
from dth.objects.checks.probe import ProbeAnswer, probe
from dth.objects.parameters import S3Parameters
from tests.engine import Keyring, Side, bodies, hurry, wait_for
from tests.servers.process import listening_socket
from tests.servers.proxy import Proxy, Reply, ResponseHeaders

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub import Hub
    from tests.servers.ministack import MiniStack
    from tests.servers.moto_server import MotoServer
    from tests.servers.s3 import S3Server

pytestmark = pytest.mark.quick

START = {"source": "src", "destination": "dest"}
SIDES = pytest.mark.parametrize("side", START)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def found(
    side: str, server: S3Server, bucket: str, *, keys: dict[str, str] | None = None, **changes: Any
) -> ProbeAnswer:
    """Probe a bucket as one side; the other is unknown yet. `changes`: parameters without their
    side."""
    keyring = Keyring(k=server)
    keyring.secrets["k"] |= keys or {}
    given = {"bucket": bucket, "endpoint": server.url, "credentials": "k", **changes}
    parameters = S3Parameters.model_validate(
        {f"{START[side]}_{name}": value for name, value in given.items()}
    )
    transport = Transport()
    try:
        result = await probe(parameters, side, transport, keyring)
    finally:
        transport.close()
    assert json.loads(json.dumps(result.as_dict())) == result.as_dict()
    assert result.message.endswith(".")
    assert result.ok or result.advice
    assert "\n" not in result.message + result.advice + result.detail
    return result


# ------------------------------------------------------------------------------------ what is there


async def test_a_source_shows_what_is_there(source: Side) -> None:
    source.put(bodies(f"in/{n:03}" for n in range(30)))
    source.put({"other": b"x"})
    result = await found("source", source.server, source.bucket, prefix="in/")
    assert (result.ok, result.more, result.region) == (True, True, "us-east-1")
    assert (result.endpoint, result.bucket) == (source.server.url, source.bucket)
    assert [each["key"] for each in result.sample] == [f"in/{n:03}" for n in range(20)]
    assert result.sample[0]["size"] == len(bodies(["in/000"])["in/000"])
    assert result.sample[0]["modified"].startswith("20")
    assert result.sample[0]["modified"].endswith("Z")
    assert result.milliseconds > 0
    assert result.advice == ""


async def test_an_empty_source_is_told(source: Side) -> None:
    result = await found("source", source.server, source.bucket, prefix="none/")
    assert (result.ok, result.sample, result.more) == (True, [], False)
    assert "there is nothing" in result.message
    assert "srcPrefix" in result.advice


async def test_keys_that_are_no_text_are_shown_as_text(source: Side, proxy_a: Proxy) -> None:
    source.put({"key": b"x"})
    listing = (
        "<ListBucketResult><Contents><Key>a%FF</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
        "<ETag>x</ETag><Size>1</Size></Contents><EncodingType>url</EncodingType>"
        "<IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    proxy_a.rule(Reply(200, body=listing.encode()), method="GET")
    result = await found("source", proxy_a, source.bucket)
    assert [each["key"] for each in result.sample] == ["a\ufffd"]


async def test_a_destination_is_looked_at_and_left_as_it_is(dest: Side, proxy_b: Proxy) -> None:
    dest.put(bodies(["out/a", "out/b", "z"]))
    result = await found("destination", proxy_b, dest.bucket, prefix="out")
    assert (result.ok, result.more) == (True, True)
    assert [each["key"] for each in result.sample] == ["out/a"]
    assert {request.method for request in proxy_b.requests} == {"GET"}
    assert dest.listed() == ["out/a", "out/b", "z"]


@SIDES
async def test_moto_is_a_store_as_well(s3_moto: MotoServer, side: str) -> None:
    bucket = s3_moto.bucket()
    assert (await found(side, s3_moto, bucket)).ok
    s3_moto.drop(bucket)


async def test_the_store_of_an_own_authority(s3_tls: MiniStack) -> None:
    bucket = s3_tls.bucket()
    assert (await found("source", s3_tls, bucket, ca_bundle=str(s3_tls.ca))).ok
    s3_tls.drop(bucket)


# ----------------------------------------------------------------------------------------- troubles


def allowed(action: str) -> dict[str, object]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


@pytest.fixture
def user(s3_auth: MiniStack) -> Callable[[str], dict[str, str]]:
    """The keys of a new user who may do one thing."""

    def make(action: str) -> dict[str, str]:
        access, secret = s3_auth.user(allowed(action))
        return {"access_key_id": access, "secret_access_key": secret}

    return make


@pytest.fixture
def closed() -> str:
    """The address of a port where nobody listens."""
    with listening_socket() as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@SIDES
async def test_keys_that_are_wrong_are_told_apart(
    s3_auth: MiniStack, user: Callable[[str], dict[str, str]], side: str
) -> None:
    bucket, keys, start = s3_auth.bucket(), user("s3:*"), START[side]
    assert (await found(side, s3_auth, bucket, keys=keys)).ok
    wrong = {**keys, "secret_access_key": "x" * 40}
    result = await found(side, s3_auth, bucket, keys=wrong)
    assert result.message == "The secret key is not that of the access key."
    assert "SignatureDoesNotMatch" in result.detail
    result = await found(side, s3_auth, bucket, keys={**keys, "access_key_id": "AKIANOBODY"})
    assert result.message == "The store does not know the access key."
    assert result.advice == f"Correct {start}Credentials."
    result = await found(side, s3_auth, bucket, keys={**keys, "secret_access_key": None})  # type: ignore[dict-item]
    assert result.message.startswith("Secret 'k' is not JSON of the form")
    assert result.advice == f"Name a secret in {start}Credentials."
    s3_auth.drop(bucket)


@SIDES
async def test_who_may_not_list_is_told(
    s3_auth: MiniStack, user: Callable[[str], dict[str, str]], side: str
) -> None:
    bucket, keys = s3_auth.bucket(), user("s3:GetObject")
    result = await found(side, s3_auth, bucket, keys=keys)
    assert not result.ok
    assert result.message == f"The credentials may not list the bucket {bucket!r}."
    assert result.advice == f"Allow s3:ListBucket on arn:aws:s3:::{bucket}."
    s3_auth.drop(bucket)


async def test_a_destination_that_nobody_lists_is_good_where_nothing_is_compared(
    s3_auth: MiniStack, user: Callable[[str], dict[str, str]]
) -> None:
    bucket, keyring = s3_auth.bucket(), Keyring(k=s3_auth)
    keyring.secrets["k"] |= user("s3:PutObject")
    parameters = S3Parameters(
        dest_bucket=bucket, dest_endpoint=s3_auth.url, dest_credentials="k", src_skip_compare=True
    )
    transport = Transport()
    result = await probe(parameters, "destination", transport, keyring)
    transport.close()
    assert result.ok
    assert "may not be listed" in result.message
    s3_auth.drop(bucket)


async def test_a_bucket_that_is_not_open_is_told(source: Side, proxy_a: Proxy) -> None:
    proxy_a.rule(Reply(403, "AccessDenied"))
    result = await found("source", proxy_a, source.bucket, credentials="", anonymous=True)
    assert "lets nobody list it without a signature" in result.message
    assert "srcCredentials" in result.advice


@SIDES
async def test_a_missing_bucket_is_told(s3_a: MiniStack, s3_moto: MotoServer, side: str) -> None:
    for server in (s3_a, s3_moto):
        result = await found(side, server, "not-there")
        host = server.url.removeprefix("http://")
        assert result.message == f"There is no bucket 'not-there' at {host}."
        assert result.advice == f"Correct {START[side]}Bucket, or create the bucket."


@SIDES
async def test_who_cannot_be_reached_is_told(
    s3_a: MiniStack, s3_tls: MiniStack, closed: str, side: str
) -> None:
    start = START[side]
    for changes, message, advice in (
        ({"endpoint": closed}, "No server takes connections at 127.0.0.1:", f"{start}Endpoint"),
        (
            {"endpoint": "https://no-such-host.invalid"},
            "The host name of no-such-host.invalid cannot",
            f"{start}Endpoint",
        ),
        ({"endpoint": s3_tls.url}, "The TLS certificate of 127.0.0.1:", f"{start}CaBundle"),
        (
            {"endpoint": s3_a.url.replace("http:", "https:")},
            "The server at 127.0.0.1:",
            f"http:// in {start}Endpoint",
        ),
        (
            {"ca_bundle": "/not/there.pem", "endpoint": s3_tls.url},
            "The file of authorities in",
            "CaBundle",
        ),
        ({"endpoint": "", "proxy": closed}, "The proxy takes no connection", f"{start}Proxy"),
        (
            {"endpoint": closed, "addressing_style": "virtual"},
            "The host name of ssl.127.0.0.1:",
            f"set {start}AddressingStyle to path",
        ),
        (
            {"endpoint": closed.replace("127.0.0.1", "localhost"), "addressing_style": "virtual"},
            ("No server takes connections at ssl.localhost:", "The host name of ssl.localhost:"),
            f"{start}Endpoint",
        ),
        ({"proxy": closed}, "The proxy takes no connection", f"{start}Proxy"),
        (
            {"proxy": "http://no-proxy.invalid:3128"},
            "The proxy's host name cannot",
            f"{start}Proxy",
        ),
    ):
        result = await found(side, s3_a, "ssl", **changes)
        assert result.message.startswith(message), (changes, result)
        assert advice in result.advice, (changes, result)
        assert not result.ok


async def test_a_server_that_is_no_store_is_told(source: Side, proxy_a: Proxy) -> None:
    for reply, message in (
        (Reply(200, body=b"<html><body>welcome</body></html>"), "does not answer as S3 does"),
        (Reply(404, body=b"nothing"), "or no S3 at all"),
    ):
        rule = proxy_a.rule(reply)
        assert message in (await found("source", proxy_a, source.bucket)).message
        proxy_a.remove(rule)


@SIDES
async def test_a_clock_that_is_off_is_told(source: Side, proxy_a: Proxy, side: str) -> None:
    proxy_a.rule(
        Reply(403, "RequestTimeTooSkewed", headers={"Date": "Thu, 01 Jan 2032 00:00:00 GMT"})
    )
    result = await found(side, proxy_a, source.bucket)
    assert result.message.startswith("The clock of this machine and the store's are")
    assert "NTP" in result.advice


async def test_a_store_that_disagrees_with_its_own_clock_is_told(
    source: Side, proxy_a: Proxy
) -> None:
    proxy_a.rule(Reply(403, "RequestTimeTooSkewed"))
    result = await found("source", proxy_a, source.bucket)
    assert result.message.startswith("The store refuses the time of the request, but")
    assert result.advice == (
        f"See that this machine and all servers behind {proxy_a.url.removeprefix('http://')} "
        "have the right time."
    )


@SIDES
async def test_a_region_that_is_another_is_told(source: Side, proxy_a: Proxy, side: str) -> None:
    proxy_a.rule(ResponseHeaders(set={"x-amz-bucket-region": "eu-west-1"}), method="HEAD")
    on_aws = {"type": "Amazon_S3", "addressing_style": "path"}
    result = await found(side, proxy_a, source.bucket, region="us-east-1", **on_aws)
    assert result.message == f"The bucket {source.bucket!r} is in eu-west-1, not in us-east-1."
    assert result.advice == f"Set {START[side]}Region to where the bucket is."
    assert result.region == "eu-west-1"


async def test_a_region_that_the_store_corrects_is_followed(source: Side) -> None:
    source.put(bodies("a"))
    result = await found("source", source.server, source.bucket, region="eu-west-1")
    assert result.ok
    assert [each["key"] for each in result.sample] == ["a"]


async def test_a_region_that_the_store_refuses_is_told(source: Side, proxy_a: Proxy) -> None:
    proxy_a.rule(Reply(400, "AuthorizationHeaderMalformed", "the region 'eu-west-1' is wrong"))
    result = await found("source", proxy_a, source.bucket, region="eu-west-1")
    assert result.message == f"The bucket {source.bucket!r} is in another region."
    assert "srcRegion" in result.advice


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown")])
async def test_a_store_in_trouble_is_told(
    source: Side, proxy_a: Proxy, status: int, code: str
) -> None:
    proxy_a.rule(Reply(status, code))
    result = await found("source", proxy_a, source.bucket)
    assert (result.ok, f"{status} {code}" in result.message) == (False, True)


# ---------------------------------------------------------------------------------- through the hub

TEST = (
    "mutation ($i: CreateTaskInput!, $side: Side!) { testConnection(input: $i, side: $side) { "
    "id kind } }"
)
JOB = "query ($id: ID!) { getJob(id: $id) { kind state error result } }"


def tried(hub: Hub, side: str, **values: str) -> dict[str, Any]:
    pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
    job = hub.call(TEST, i={"type": "S3EC2", "parameters": pairs}, side=side)
    wait_for(lambda: hub.call(JOB, id=job["id"])["state"] != "RUNNING")
    ended = hub.call(JOB, id=job["id"])
    assert (ended["kind"], ended["state"], ended["error"]) == ("probe", "DONE", "")
    result: dict[str, Any] = json.loads(ended["result"])
    return result


def test_a_hub_tries_one_side_alone(hub: Hub, source: Side, dest: Side, closed: str) -> None:
    source.put({"a": b"12", "b": b""})
    hub.secret("keys", source.server.access_key, source.server.secret_key)
    here = {"srcBucket": source.bucket, "srcEndpoint": source.server.url, "srcCredentials": "keys"}
    there = {"destBucket": dest.bucket, "destEndpoint": dest.server.url, "destCredentials": "keys"}
    result = tried(hub, "SOURCE", **here, destBucket="")
    assert result["ok"], result
    assert [(each["key"], each["size"]) for each in result["sample"]] == [("a", 2), ("b", 0)]
    assert set(result) >= {
        "message",
        "advice",
        "region",
        "endpoint",
        "bucket",
        "milliseconds",
        "more",
    }
    assert tried(hub, "DESTINATION", **there)["ok"]
    result = tried(hub, "DESTINATION", **there | {"destEndpoint": closed})
    assert (result["ok"], result["message"][:26]) == (False, "No server takes connection")
    assert "'nobody'" in tried(hub, "SOURCE", **here | {"srcCredentials": "nobody"})["message"]
    assert dest.listed() == []
    for side, given, said in (
        ("SOURCE", there, "srcBucket: a bucket is needed"),
        ("DESTINATION", here, "destBucket: a bucket is needed"),
        ("SOURCE", here | {"srcEndpoint": "ftp://x"}, "endpoint URL 'ftp://x'"),
        ("SOURCE", here | {"srcNonsense": "x"}, "srcNonsense: there is no such parameter"),
    ):
        with pytest.raises(HubError, match=said):
            tried(hub, side, **given)
