"""Headers of registries: challenges, links, times to wait; what is in none; and how long reading
takes."""

from __future__ import annotations

import contextlib
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.images.registry.headers import (
    LONGEST,
    LONGEST_WAIT,
    Challenge,
    next_link,
    read_challenge,
    seconds_to_wait,
)

NASTY = (
    "a" * 2000 + "!",
    "a" * LONGEST,
    "Bearer a=b" + " " * 4000,
    "Bearer " + "a=b," * 1000,
    "Bearer " + "a = " * 1000,
    "Bearer " + " ," * 2000,
    'Bearer realm="' + '\\"' * 2000,
    'Bearer realm="' + "x" * 4000,
    'Bearer "' * 500,
    "=" * 4000,
    '"' * 4000,
    "<" * 4000,
    "<>;" * 1300,
    "<a>;rel=" * 500,
    "<a>" + ";" * 4000,
    "<a>" + "; " * 2000,
    '<a>; rel="' + "next " * 800,
    '<a>; a="' * 400,
    "<a>;" + " " * 4000,
)


@pytest.mark.parametrize("header", NASTY)
def test_reading_takes_no_time(header: str) -> None:
    header = header[:LONGEST]
    took = []
    for _ in range(5):
        # Not the time in which others have the processor.
        begun = time.thread_time()
        read_challenge(header)
        with contextlib.suppress(ValueError):
            next_link(header)
        seconds_to_wait({"retry-after": header, "date": header})
        took.append(time.thread_time() - begun)
    assert min(took) < 0.01


@given(st.text(max_size=300), st.text(alphabet='aB=,"\\ ;<>\t/', max_size=300))
def test_anything_can_be_read(one: str, other: str) -> None:
    for header in (one, other):
        read_challenge(header)
        with contextlib.suppress(ValueError):
            next_link(header)
        assert 0 <= seconds_to_wait({"retry-after": header, "date": one}) <= LONGEST_WAIT


def test_what_is_too_long_is_not_read() -> None:
    assert read_challenge('Bearer realm="' + "x" * LONGEST + '"') is None
    with pytest.raises(ValueError, match="more than"):
        next_link("<" + "x" * LONGEST + '>; rel="next"')


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Negotiate abc==, Bearer realm="https://h/t"', Challenge("bearer", "https://h/t")),
        ('Digest realm="d", nonce="a,b", Basic realm="r"', Challenge("basic", "r")),
        ('BEARER REALM="https://h/t" , Service = s', Challenge("bearer", "https://h/t", "s")),
        ('Bearer realm="https://h/t",realm="https://evil/"', Challenge("bearer", "https://h/t")),
        (
            'Bearer realm="https://h/t", Bearer realm="https://o/t"',
            Challenge("bearer", "https://h/t"),
        ),
        ('Bearer, Basic realm="r"', Challenge("basic", "r")),
        (',, Basic realm="r" ,,', Challenge("basic", "r")),
        ('Bearer realm="https://h/t', None),
        ("Bearer realm", None),
        ("basically", None),
    ],
)
def test_odd_challenges(header: str, expected: Challenge | None) -> None:
    assert read_challenge(header) == expected


values = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30
)


@given(
    values.filter(bool),
    values,
    values,
    st.sampled_from([" ", "  "]),
    st.sampled_from([",", ", ", " , "]),
)
def test_a_challenge_written_out_is_read_as_the_same(
    realm: str, service: str, scope: str, space: str, comma: str
) -> None:
    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    pairs = {"Realm": realm, "service": service, "scope": scope}
    written = comma.join(f"{name}={quoted(value)}" for name, value in pairs.items())
    expected = Challenge("bearer", realm, service, scope)
    assert read_challenge(f"Bearer{space}{written}") == expected
    assert read_challenge(f'Basic realm="a"{comma}bearer{space}{written}') == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('</a?n=1>; rel="next"', "/a?n=1"),
        ("</a>;rel=next", "/a"),
        ('</a>; Rel="Next"', "/a"),
        ('</a>; REL = "prev NEXT"', "/a"),
        (r'</a>; title="x, \"y\"; rel=prev, <z>"; rel="next"', "/a"),
        ('</b>; rel="prev", </a>; rel="next"', "/a"),
        ('</b>; rel="prev"; rel="next", </a>; rel="next"', "/a"),
        ('</a,b;c>; rel="next"', "/a,b;c"),
        ('</a>; rel="nextish"', ""),
        ('</a>; rev="next"', ""),
        ('</a>; x="rel=next"', ""),
        ('</a>; rel="next', "/a"),
        ("</a>; rel='next'", "/a"),
        ("< /a >; rel=next", "/a"),
        ("</a>", ""),
        ("", ""),
    ],
)
def test_links(header: str, expected: str) -> None:
    assert next_link(header) == expected


@pytest.mark.parametrize(
    "header", ['<>; rel="next"', '< >; rel="next"', '/a; rel="next"', "/a; rel=Next", "next"]
)
def test_a_next_page_without_an_address(header: str) -> None:
    """It is not the end of the list."""
    with pytest.raises(ValueError, match="next page"):
        next_link(header)


targets = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>"), min_size=1
)
titles = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(targets, titles, st.sampled_from(["next", '"next"', '"first next"', "NEXT"]), st.booleans())
def test_a_link_written_out_is_read_as_the_same(
    target: str, title: str, rel: str, after: bool
) -> None:
    escaped = title.replace("\\", "\\\\").replace('"', '\\"')
    parts = [f'title="{escaped}"', f"rel={rel}"]
    if after:
        parts.reverse()
    assert next_link(f"<other>; rel=prev, <{target}> ; {' ; '.join(parts)}") == target


def test_times_to_wait() -> None:
    now = time.time()
    assert seconds_to_wait({"retry-after": " 7 "}) == 7
    assert seconds_to_wait({"retry-after": "0.25"}) == 0.25
    assert seconds_to_wait({"retry-after": "9" * 60}) == LONGEST_WAIT
    assert seconds_to_wait({"retry-after": "9" * 5000}) == LONGEST_WAIT
    for nothing in ("", "soon", "-5", "1e9", "٣", "Mon, 99 Foo 2026 00:00:00 GMT"):
        assert seconds_to_wait({"retry-after": nothing}) == 0
    for style in ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"):
        date = time.strftime(style, time.gmtime(now + 100))
        assert 95 <= seconds_to_wait({"retry-after": date}) <= 101
    assert seconds_to_wait({"retry-after": formatdate(now - 100, usegmt=True)}) == 0
    # The registry's clock may be wrong: its own date says what it means.
    clock = {
        "date": formatdate(now + 9000, usegmt=True),
        "retry-after": formatdate(now + 9030, usegmt=True),
    }
    assert seconds_to_wait(clock) == 30
    assert 95 <= seconds_to_wait({"x-ratelimit-reset": str(int(now) + 100)}) <= 100
