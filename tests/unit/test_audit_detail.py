"""What of a call is written down: never what proves who somebody is, also where the call is refused
for it."""

import json

import pytest

from dth.hub.api.door import _detail


@pytest.mark.parametrize(
    "value",
    [
        "http://me:PW@proxy:3128",
        "https://me:PW@store.example.com",
        "https://PW@store.example.com",
        "me:PW@proxy:3128",
        ":PW@proxy",
        "socks5h://me:P:W@proxy",
        "https://a.example,https://me:PW@b.example",
        "http://me:P%57@proxy PW:x@y",
    ],
)
def test_no_password_of_a_url_is_written_down(value: str) -> None:
    given = {
        "id": "t",
        "input": {"parameters": [{"ParameterKey": "srcProxy", "ParameterValue": value}]},
    }
    detail = _detail(given)
    assert not [word for word in ("PW", "P:W", "P%57") if word in detail]
    assert "(withheld)@" in detail
    assert json.loads(detail)["id"] == "t"


@pytest.mark.parametrize(
    "value", ["team/app:v1@sha256:00", "a@example.org", "s3://bucket/a@b", "x:y"]
)
def test_what_is_no_password_stays(value: str) -> None:
    assert value in json.loads(_detail({"text": value}))["text"]


@pytest.mark.parametrize("piece", ["a", ":", "a:", "//", "@", "a@", ":@", '"'])
def test_the_work_grows_with_the_text_alone(piece: str) -> None:
    """A million characters, which a pattern that goes back and forth would look at for hours."""
    assert len(_detail({"text": piece * 1_000_000})) == 8000
