"""Some rounds of `tests/chaos`, with faults that were chosen. `make chaos` runs many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.__main__ import one_round
from tests.chaos.plan import FAULTS, Plan
from tests.servers.postgres import missing_parts
from tests.servers.wrong_clock import skip_without_faketime

pytest.importorskip("psycopg", reason="psycopg is not installed")
from tests.chaos.rounds import CommandRound, Round, World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def servers() -> Iterator[World]:
    if missing := missing_parts():
        pytest.skip(f"not installed: {', '.join(missing)}")
    skip_without_faketime()
    with world() as servers:
        yield servers


@pytest.mark.parametrize(
    "plan",
    [
        Plan(False, 1, [60, -60, 0, 60], steps=[(0.5, "kill_worker"), (1.0, "kill_leader")]),
        Plan(True, 2, [0, 60, -60, 0], steps=[(0.5, "kill_leading_machine")]),
    ],
    ids=["command", "hub"],
)
def test_nothing_is_lost_counted_twice_or_left(plan: Plan, servers: World, tmp_path: Path) -> None:
    folder = tmp_path / "round"
    assert one_round(servers, folder, plan) == ""
    assert not folder.exists()


class SpoiledRound(CommandRound):
    """All objects are there, and something else is wrong."""

    def run(self) -> None:
        dest, bucket = self.world.dest, self.dest.bucket
        for key, body in self.objects.items():
            dest.put(bucket, key, body)
        self._judge_destination()
        self.spoil()
        self._judge_destination()

    def spoil(self) -> None:
        raise NotImplementedError


class DamagedRound(SpoiledRound):
    def spoil(self) -> None:
        self.world.dest.put(self.dest.bucket, "parted", b"something else")


class LitteredRound(SpoiledRound):
    def spoil(self) -> None:
        boto = self.world.dest.boto()
        boto.create_multipart_upload(Bucket=self.dest.bucket, Key="stray")


@pytest.mark.parametrize(
    ("kind", "says"),
    [(DamagedRound, "missing or different: ['parted']"), (LitteredRound, "uploads are left")],
)
def test_what_is_wrong_is_noticed_and_its_files_stay(
    kind: type[CommandRound], says: str, servers: World, tmp_path: Path
) -> None:
    folder = tmp_path / "round"
    assert says in one_round(servers, folder, Plan(False, 1, [0, 0, 0, 0]), kind)
    assert says in (folder / "wrong").read_text()


def test_a_plan_depends_on_the_seed_and_the_number_alone() -> None:
    plans = [Plan.of(1, number) for number in range(100)]
    assert plans == [Plan.of(1, number) for number in range(100)]
    assert plans != [Plan.of(2, number) for number in range(100)]
    assert {name for plan in plans for name in plan.faults} == FAULTS.keys()
    for plan in plans:
        assert all(callable(getattr(Round, step)) for _, step in plan.steps)
