"""The policy of retries: how pauses grow, what limits them, and which loops use it."""

import ast
import asyncio
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.compose.aws.functions import custom
from dth.core.errors import ObjectRefused, Transient
from dth.core.retry_policy import FULL_JITTER, RetryPolicy
from dth.images import worker
from dth.objects.store import immediate_retry
from tests.servers.process import REPOSITORY

PLAIN = RetryPolicy(first=1.0, last=10.0)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; none of them takes time."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


@pytest.mark.parametrize(
    ("policy", "pauses"),
    [
        (PLAIN, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]),
        (RetryPolicy(1.0, 100.0, factor=3.0), [1.0, 3.0, 9.0, 27.0, 81.0, 100.0]),
        # Images: five seconds, half a minute, and two minutes from then on.
        (worker.AGAIN, [5.0, 30.0, 120.0, 120.0]),
        (custom.GRANTED, [1, 2, 4, 8, 16, 16]),
    ],
)
def test_pauses_grow_up_to_the_longest(policy: RetryPolicy, pauses: list[float]) -> None:
    assert [policy.pause(failures + 1) for failures in range(len(pauses))] == pauses


@given(st.integers(1, 10**6), st.floats(0, 1000))
def test_no_pause_is_shorter_than_what_the_server_asks_for(failures: int, asked: float) -> None:
    policy = RetryPolicy(first=0.2, last=10.0, jitter=FULL_JITTER)
    assert asked <= policy.pause(failures, asked) <= max(asked, 10.0)


@pytest.mark.parametrize("jitter", [FULL_JITTER, (0.5, 1.5)])
def test_jitter_spreads_pauses_over_its_whole_range(jitter: tuple[float, float]) -> None:
    random.seed(1)
    pauses = [RetryPolicy(2.0, 2.0, jitter=jitter).pause(1) for _ in range(1000)]
    least, most = (2.0 * each for each in jitter)
    assert least <= min(pauses) < least + 0.1
    assert most - 0.1 < max(pauses) <= most


def test_after_the_last_attempt_there_is_no_pause() -> None:
    policy = RetryPolicy(1.0, 10.0, attempts=3)
    assert [policy.next_pause(failures, 0.0) for failures in (1, 2, 3)] == [1.0, 2.0, None]
    assert policy.next_pause(1, 0.0, attempts=1) is None
    assert policy.next_pause(3, 0.0, attempts=4) == 4.0
    assert PLAIN.next_pause(10**6, math.inf) == 10.0


def test_a_pause_that_exceeds_the_patience_is_not_made() -> None:
    policy = RetryPolicy(1.0, 10.0, patience=60.0)
    assert policy.next_pause(1, 59.0) == 1.0
    assert policy.next_pause(1, 59.1) is None
    assert policy.next_pause(1, 0.0, asked=60.0) == 60.0
    assert policy.next_pause(1, 0.0, asked=61.0) is None


async def test_a_loop_waits_between_its_calls_only(slept: list[float]) -> None:
    assert [number async for number in RetryPolicy(1.0, 10.0, attempts=3).tries()] == [1, 2, 3]
    assert slept == [1.0, 2.0]


async def test_a_loop_that_is_left_waits_no_longer(slept: list[float]) -> None:
    async for number in PLAIN.tries():
        if number == 2:
            break
    assert slept == [1.0]


# ---------------------------------------------------------------------------- of requests to stores


async def test_a_temporary_error_is_tried_again_until_the_attempts_are_spent(
    slept: list[float],
) -> None:
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise Transient(f"call {calls}")

    with pytest.raises(Transient, match="call 5"):
        await immediate_retry.retry(fail)
    assert (calls, len(slept)) == (immediate_retry.ATTEMPTS, immediate_retry.ATTEMPTS - 1)
    assert all(pause <= most for pause, most in zip(slept, (0.2, 0.4, 0.8, 1.6), strict=True))


async def test_a_refusal_is_not_tried_again(slept: list[float]) -> None:
    async def refuse() -> None:
        raise ObjectRefused("no")

    with pytest.raises(ObjectRefused):
        await immediate_retry.retry(refuse)
    assert slept == []


async def test_a_store_that_asks_for_a_long_wait_is_left_to_the_queue(slept: list[float]) -> None:
    async def busy() -> None:
        raise Transient("busy", retry_after=61.0)

    with pytest.raises(Transient):
        await immediate_retry.retry(busy)
    assert slept == []


# --------------------------------------------------------------------------------- one policy alone


def doublings(path: Path) -> list[str]:
    """Where a module raises something to a power that it computes, as growing pauses do."""
    return [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
        if not isinstance(node.right, ast.Constant)
        # What halves is no pause that grows.
        and not (isinstance(node.left, ast.Constant) and node.left.value < 1)
    ]


def test_nothing_else_computes_growing_pauses() -> None:
    # The pace of a store; how long one who guesses is locked out; the cost of a password.
    own = {
        "core/retry_policy.py",
        "objects/store/rate.py",
        "platforms/local/attempt_limits.py",
        "platforms/local/users.py",
    }
    source = REPOSITORY / "src/dth"
    modules = {str(path.relative_to(source)): path for path in source.rglob("*.py")}
    assert own <= modules.keys()
    assert [
        each for name, path in modules.items() if name not in own for each in doublings(path)
    ] == []
