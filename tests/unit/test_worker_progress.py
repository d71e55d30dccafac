"""When a worker's work stands still, and when it only seems so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.ports.queue import Delivery
from dth.objects.transfer.worker import STILL, LeasedMessage, ObjectWorker, Stalled

if TYPE_CHECKING:
    from collections.abc import Callable


def worker(*, held: int = 1) -> Any:
    """One that holds so many deliveries."""
    made: Any = object.__new__(ObjectWorker)
    made._held = {LeasedMessage(Delivery(str(n), "", 1, ""), 1) for n in range(held)}
    made._seen, made._still = None, 0
    made._route = SimpleNamespace(
        source=SimpleNamespace(held_back=0),
        dest=SimpleNamespace(held_back=0),
        transport=SimpleNamespace(requests=0, bytes_under_way=0),
    )
    return made


def look(worker: Any, change: Callable[[Any], None] = lambda _: None) -> None:
    """So many heartbeats that a worker would be given up, with something happening at every
    tenth."""
    for beat in range(3 * STILL):
        if beat % 10 == 0:
            change(worker)
        worker._look_for_progress()


def a_byte_moves(worker: Any) -> None:
    worker._route.transport.bytes_under_way += 1


def a_request_ends(worker: Any) -> None:
    worker._route.transport.requests += 1


def a_message_is_done(worker: Any) -> None:
    worker._held = {*list(worker._held)[1:], LeasedMessage(Delivery("next", "", 1, ""), 1)}


def test_work_that_stands_still_is_given_up() -> None:
    with pytest.raises(Stalled, match="2 messages in progress, and nothing has moved for 1800 s"):
        look(worker(held=2))


@pytest.mark.slow
@pytest.mark.parametrize("change", [a_byte_moves, a_request_ends, a_message_is_done])
def test_whatever_moves_is_progress(change: Callable[[Any], None]) -> None:
    look(worker(), change)


def test_a_worker_with_nothing_to_do_waits_for_ever() -> None:
    look(worker(held=0))


@pytest.mark.slow
@pytest.mark.parametrize("side", ["source", "dest"])
def test_what_a_cap_holds_back_does_not_stand_still(side: str) -> None:
    held = worker()
    getattr(held._route, side).held_back = 1
    look(held)
    getattr(held._route, side).held_back = 0
    with pytest.raises(Stalled):
        look(held)
