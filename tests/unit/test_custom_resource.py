"""How a custom resource answers CloudFormation, which is a server on loopback here."""

from __future__ import annotations

import json
import threading
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dth.compose.aws.functions import custom, objects
from dth.core.errors import UsageError
from dth.core.retry_policy import RetryPolicy
from dth.platforms.aws.client import Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address, and what was put there."""
    monkeypatch.setattr(custom, "GRANTED", RetryPolicy(0.0, 0.0, attempts=4))
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", taken
        server.shutdown()


def event(url: str, kind: str = "Create") -> dict[str, Any]:
    return {
        "RequestType": kind, "ResponseURL": url, "StackId": "stack", "RequestId": "request",
        "LogicalResourceId": "TaskSetup",
    }  # fmt: skip


class Failing:
    """Work that fails so often, then succeeds."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error


def test_what_was_done_is_told(answers: tuple[str, list[dict[str, Any]]]) -> None:
    url, taken = answers
    custom.answer(event(url), None, lambda: None)
    assert taken == [
        {
            "Status": "SUCCESS", "Reason": "done", "PhysicalResourceId": "TaskSetup",
            "StackId": "stack",
            "RequestId": "request", "LogicalResourceId": "TaskSetup",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        Refused("dynamodb:PutItem was refused: AccessDeniedException", "AccessDeniedException", {}),
        Refused(
            "s3: InvalidArgument: Unable to validate the following destination",
            "InvalidArgument",
            {},
        ),
    ],
)
def test_rights_that_do_not_hold_yet_are_waited_for(
    answers: tuple[str, list[dict[str, Any]]], error: Refused
) -> None:
    url, taken = answers
    work = Failing(error, 3)
    custom.answer(event(url), None, work)
    assert (taken[0]["Status"], work.calls) == ("SUCCESS", 4)
    custom.answer(event(url), None, Failing(error, 9))
    assert (taken[1]["Status"], taken[1]["Reason"]) == ("FAILED", str(error))


def test_what_is_wrong_is_told_at_once(answers: tuple[str, list[dict[str, Any]]]) -> None:
    url, taken = answers
    work = Failing(UsageError("minSize: 'many' is not a size"), 9)
    custom.answer(event(url), None, work)
    assert (taken[0]["Status"], taken[0]["Reason"], work.calls) == (
        "FAILED",
        "minSize: 'many' is not a size",
        1,
    )


def test_a_defect_is_told_too(answers: tuple[str, list[dict[str, Any]]]) -> None:
    url, taken = answers
    custom.answer(event(url), None, Failing(ZeroDivisionError("ours"), 1))
    assert taken[0]["Status"] == "FAILED"
    assert "a defect of Data Transfer Hub: ZeroDivisionError('ours')" in taken[0]["Reason"]


def test_a_delete_is_never_refused(answers: tuple[str, list[dict[str, Any]]]) -> None:
    url, taken = answers
    custom.answer(event(url, "Delete"), None, Failing(UsageError("the store is gone"), 1))
    assert (taken[0]["Status"], taken[0]["Reason"]) == ("SUCCESS", "the store is gone")


async def test_uploads_are_discarded_when_the_source_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its notifications cannot be read any more; parts in the destination would stay, and be
    billed."""
    discarded: list[str] = []

    @asynccontextmanager
    async def platform(request: str) -> AsyncIterator[Any]:
        yield SimpleNamespace(aws=None)

    async def gone(aws: Any, bucket: str, subscription: Any) -> None:
        raise Refused("the bucket is gone", "NoSuchBucket", {})

    async def discard(platform: Any, request: str) -> None:
        discarded.append(request)

    monkeypatch.setattr(objects, "_opened", platform)
    monkeypatch.setattr(objects, "_follow", gone)
    monkeypatch.setattr(objects, "_abort_uploads", discard)
    with pytest.raises(Refused):
        await objects._resource(
            {"RequestType": "Delete", "ResourceProperties": {"Bucket": "b"}}, "request"
        )
    assert discarded == ["request"]
