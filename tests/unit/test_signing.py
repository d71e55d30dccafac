"""Signatures are those of botocore's signer, bytes that are no ASCII included."""

import hashlib
import hmac
import random
import re
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from dth.objects.store import signing
from dth.objects.store.signing import (
    EMPTY_SHA256,
    UNSIGNED,
    AccessKeys,
    Signer,
    quote_key,
    quote_query,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
KEYS = AccessKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
# Keys as stores hold them: any UTF-8, and single bytes that are none.
ANY_KEY = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    )
)
LETTERS = "aZ09-_.~/ +%&=?#:;,@!$'()*\"\\<>[]{}|^`\n\t\r\x00\x7fé\u0301漢😀"
BLANKS = ["", " ", "  ", "   ", "\t", " \t "]


class Clock:
    """The time for both signers."""

    def __init__(self) -> None:
        self.now = NOON

    def time(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(signing.time, "time", clock.time)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", clock.utc)
    return clock


def by_botocore(
    keys: AccessKeys,
    region: str,
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    payload: str,
) -> str:
    """The same request's authorization as botocore has it."""
    url = f"https://{headers['host']}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, {n: v for n, v in headers.items() if n != "host"}, b"")
    if payload == UNSIGNED:
        request.context.update(
            client_config=Config(s3={"payload_signing_enabled": False}), has_streaming_input=True
        )
    else:
        request.headers["X-Amz-Content-SHA256"] = payload
    credentials = Credentials(keys.access, keys.secret, keys.token or None)
    botocore.auth.S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return str(request.headers["Authorization"]).replace(", ", ",")


def text(dice: random.Random, most: int) -> str:
    return "".join(dice.choices(LETTERS, k=dice.randrange(most)))


def value(dice: random.Random) -> str:
    """A header's value: printable ASCII, with blanks in odd numbers and places."""
    words = ["".join(dice.choices("abc,;=\"'/+%\\()!~", k=dice.randrange(1, 6))) for _ in range(3)]
    return "".join(dice.choice(BLANKS) + word for word in words) + dice.choice(BLANKS)


def test_thousands_of_random_requests_are_signed_as_botocore_signs_them(clock: Clock) -> None:
    dice = random.Random(20260301)
    signers = {
        region: Signer(region) for region in ("us-east-1", "cn-north-1", "oss-cn-hangzhou", "")
    }
    people = [
        KEYS,
        AccessKeys("AKIA2", "other/secret"),
        AccessKeys("ASIA3", "third", "session+token/=" * 20),
    ]
    for number in range(4000):
        clock.now += dice.choice([0, 0, 0, 0.4, 1, 61, 3600, 90_000])
        region = dice.choice(list(signers))
        keys = dice.choice(people)
        method = dice.choice(["GET", "PUT", "POST", "DELETE", "HEAD"])
        path = "/bucket" + (f"/{quote_key(text(dice, 20))}" if dice.random() < 0.9 else "")
        pairs = {text(dice, 8) or "uploads": text(dice, 10) for _ in range(dice.randrange(4))}
        # For botocore in another order, and encoded by other code.
        mixed = sorted(pairs.items(), key=lambda _: dice.random())
        other_query = "&".join(
            f"{quote(name, safe='~')}={quote(text, safe='~')}" for name, text in mixed
        )
        headers = {
            "host": dice.choice(["s3.example.com", "127.0.0.1:9000", "bucket.s3.amazonaws.com"])
        }
        for _ in range(dice.randrange(5)):
            headers[
                dice.choice(["x-amz-meta-", "x-amz-", "", "z-"]) + f"name-{dice.randrange(99)}"
            ] = value(dice)
        payload = dice.choice([UNSIGNED, EMPTY_SHA256])
        signed = dict(headers)
        signers[region].sign(keys, method, path, quote_query(pairs), signed, payload)
        expected = by_botocore(keys, region, method, path, other_query, headers, payload)
        assert signed["authorization"] == expected, (number, method, path, pairs, headers)
        assert signed["x-amz-content-sha256"] == payload
        assert signed.get("x-amz-security-token", "") == keys.token


@given(raw=st.binary(min_size=1, max_size=30), blanks=st.sampled_from(BLANKS))
def test_bytes_of_header_values_are_signed_as_they_are(raw: bytes, blanks: str) -> None:
    """0x85 and 0xA0 are space to Python's text, but parts of letters in UTF-8."""
    raw = re.sub(rb"[\x00-\x20\x7f]", b"_", raw)
    spaced = b"a" + raw + b"  " + raw + b"z"
    headers = {"host": "h", "x-amz-meta-x": blanks + spaced.decode("latin-1") + blanks}
    Signer("us-east-1").sign(KEYS, "PUT", "/b/k", "", headers)
    stamp, scope = headers["x-amz-date"], f"{headers['x-amz-date'][:8]}/us-east-1/s3/aws4_request"
    canonical = b"\n".join(
        [
            *(b"PUT", b"/b/k", b"", b"host:h", b"x-amz-content-sha256:UNSIGNED-PAYLOAD"),
            b"x-amz-date:" + stamp.encode(),
            b"x-amz-meta-x:" + spaced.replace(b"  ", b" "),
            *(b"", b"host;x-amz-content-sha256;x-amz-date;x-amz-meta-x", b"UNSIGNED-PAYLOAD"),
        ]
    )
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    key = ("AWS4" + KEYS.secret).encode()
    for part in [*scope.split("/"), to_sign]:
        key = hmac.digest(key, part.encode(), "sha256")
    assert headers["authorization"].rpartition("=")[2] == key.hex()


def test_a_signer_that_is_kept_follows_the_clock_and_the_keys(clock: Clock) -> None:
    kept = Signer("us-east-1")
    midnight = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
    rotated = AccessKeys(KEYS.access, "another secret")
    for now, keys in [
        (NOON, KEYS),
        (NOON, rotated),
        (NOON + 1, AccessKeys(*("AKIDEXAMPLE", KEYS.secret))),
        (midnight - 1, KEYS),
        (midnight, KEYS),
        (NOON, KEYS),
    ]:
        clock.now = now
        fresh: dict[str, str] = {"host": "h"}
        again: dict[str, str] = {"host": "h"}
        Signer("us-east-1").sign(keys, "GET", "/b", "", fresh)
        kept.sign(keys, "GET", "/b", "", again)
        assert again == fresh


@given(ANY_KEY)
def test_a_quoted_key_is_plain_ascii_and_holds_every_byte(key: str) -> None:
    quoted = quote_key(key)
    assert re.fullmatch(r"([A-Za-z0-9._~/-]|%[0-9A-F]{2})*", quoted)
    assert unquote_to_bytes(quoted) == key.encode("utf-8", "surrogateescape")


@given(st.dictionaries(st.text("ab-=& %é", min_size=1), ANY_KEY))
def test_a_query_is_sorted_as_it_is_encoded(query: dict[str, str]) -> None:
    line = quote_query(query)
    pairs = [tuple(pair.split("=")) for pair in line.split("&") if pair]
    assert pairs == sorted(pairs)
    found = {unquote_to_bytes(name).decode(): unquote_to_bytes(value) for name, value in pairs}
    assert found == {
        name: value.encode("utf-8", "surrogateescape") for name, value in query.items()
    }


def test_keys_never_print_the_secret() -> None:
    keys = AccessKeys("AKIDEXAMPLE", "a secret", "a token")
    assert "secret" not in f"{keys} {keys!r} {[keys]}"
    assert "token" not in f"{keys} {keys!r} {[keys]}"
    assert "AKIDEXAMPLE" not in f"{keys}"
