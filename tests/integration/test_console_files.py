"""The console's files as the hub serves them."""

from __future__ import annotations

import gzip
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from dth.platforms.local.console import Console

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from pathlib import Path

    from tests.hub import Hub


def get(hub: Hub, path: str, **headers: str) -> HTTPResponse | urllib.error.HTTPError:
    request = urllib.request.Request(
        hub.url + path, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer: HTTPResponse = opener.open(request, timeout=30)
        return answer
    except urllib.error.HTTPError as error:
        return error


def test_every_page_is_the_same_file(hub: Hub) -> None:
    home = get(hub, "/").read()
    assert b'<div id="root">' in home
    for path in (
        "/tasks",
        "/tasks/some-id?tab=logs",
        "/auth/callback?code=1&state=2",
        "/no/such/page",
    ):
        answer = get(hub, path)
        assert answer.status == 200, path
        assert answer.read() == home


def test_nothing_else_may_be_loaded_or_frame_it(hub: Hub) -> None:
    policy = get(hub, "/tasks").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert f"connect-src 'self' {hub.url};" in policy
    silent = get(hub, "/auth/silent").headers
    assert "frame-ancestors 'self'" in silent["content-security-policy"]
    assert silent["x-frame-options"] == "SAMEORIGIN"
    assert get(hub, "/").headers["x-frame-options"] == "DENY"


def test_hashed_files_are_kept_for_good_and_the_page_is_asked_for_again(hub: Hub) -> None:
    page = get(hub, "/")
    assert page.headers["cache-control"] == "no-cache"
    assert get(hub, "/", if_none_match=page.headers["etag"]).status == 304
    script = "/" + page.read().decode().split('src="/', 1)[1].split('"', 1)[0]
    plain = get(hub, script)
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["content-type"].startswith("text/javascript")
    packed = get(hub, script, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.read()) == plain.read()


def test_a_file_of_an_older_console_is_missing_and_is_not_the_page(hub: Hub) -> None:
    assert get(hub, "/assets/Home-old.js").status == 404


def test_the_documentation_is_beside_the_console(hub: Hub) -> None:
    first = get(hub, "/docs/index.html")
    page = first.read()
    assert b"<h1" in page
    assert first.headers["content-type"].startswith("text/html")
    assert "script-src 'self';" in first.headers["content-security-policy"]
    for path in ("/docs", "/docs/"):
        assert get(hub, path).read() == page
    assert get(hub, "/docs/zh").read() == get(hub, "/docs/zh/index.html").read() != page
    assert get(hub, "/docs/index.html", if_none_match=first.headers["etag"]).status == 304
    for path, kind in (
        ("how-to/resume.html", "text/html"),
        ("images/tasks.png", "image/png"),
        ("docs.css", "text/css"),
        ("docs.js", "text/javascript"),
        ("search.json", "application/json"),
        ("zh/how-to/resume.html", "text/html"),
        ("zh/search.json", "application/json"),
    ):
        answer = get(hub, f"/docs/{path}")
        assert answer.status == 200, path
        assert answer.headers["content-type"].startswith(kind), path


@pytest.mark.parametrize("path", ["/docs/no-such.html", "/docs/index.md", "/docs/..%2fhub.db"])
def test_a_page_that_is_not_in_the_documentation_is_missing(hub: Hub, path: str) -> None:
    answer = get(hub, path)
    assert answer.status == 404
    assert b"there is no such page; /docs has the documentation" in answer.read()


@pytest.mark.parametrize("path", ["/..%2f..%2fhub.db", "/assets/..%2f..%2fvault", "/.digest"])
def test_no_path_leads_out(hub: Hub, path: str) -> None:
    answer = get(hub, path)
    assert answer.status == 404 or b'<div id="root">' in answer.read()


def test_api_answers_keep_their_own_policy(hub: Hub) -> None:
    assert (
        get(hub, "/healthz")
        .headers["content-security-policy"]
        .startswith("default-src 'none'; frame-anc")
    )


async def test_an_installation_without_a_console_says_so(tmp_path: Path) -> None:
    from starlette.requests import Request

    async def issuers() -> list[str]:
        return ["http://127.0.0.1:1/oidc"]

    console = Console(issuers, tmp_path / "none")
    for path, status in (("", 200), ("tasks", 404)):
        answer = await console._answer(
            Request({"type": "http", "path_params": {"path": path}, "headers": []})
        )
        assert (answer.status_code, b"no web console" in answer.body) == (status, True)
