"""When a listing waits for the runs before it."""

import pytest

from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.objects.finder import held_up

UNDER_WAY = Counts(enqueued=2, done=1)
SETTLED = Counts(enqueued=2, done=1, failed=1)


@pytest.mark.parametrize(
    ("number", "kind", "state", "counts", "waits"),
    [
        (1, RunKind.SYNC, RunState.TRANSFERRING, UNDER_WAY, True),
        (
            1,
            RunKind.SYNC,
            RunState.FAILED,
            UNDER_WAY,
            True,
        ),  # what it enqueued is in flight nevertheless
        (1, RunKind.REDRIVE, RunState.TRANSFERRING, UNDER_WAY, True),
        (
            1,
            RunKind.EVENTS,
            RunState.LISTING,
            UNDER_WAY,
            False,
        ),  # it never ends, and its records are written
        (1, RunKind.SYNC, RunState.TRANSFERRING, SETTLED, False),
        (3, RunKind.SYNC, RunState.LISTING, UNDER_WAY, False),
    ],
)
def test_a_listing_waits_for_what_runs_before_have_in_flight(
    number: int, kind: RunKind, state: RunState, counts: Counts, waits: bool
) -> None:
    mine = Run(2, RunKind.SYNC, RunState.LISTING, 0.0)
    assert held_up(mine, [mine, Run(number, kind, state, 0.0, counts=counts)]) is waits
