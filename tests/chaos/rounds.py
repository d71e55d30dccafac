"""One transfer, what happens to it, and what is left of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import psutil

from dth.core.errors import HubError
from dth.platforms.local.vault import Vault
from tests.chaos.plan import CUT_HELPER, CUT_LEADER
from tests.engine import GIANT_OPTIONS, MIB, Done, Dth, Side, between, blob, check_ledger, counts_of
from tests.hub import Hub, balanced
from tests.kills import SIZES
from tests.machines import Machines, ask
from tests.servers.odd import OddStore
from tests.servers.partition import FAR, Cut
from tests.servers.postgres import Postgres
from tests.servers.proxy import Delay, Proxy
from tests.servers.wrong_clock import off_by

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.plan import Plan

KEY = Vault.new_key()
# Seconds that each write takes, so that faults come while there is work.
SLOW = 0.3
# Seconds after which a round is stuck. What is lost is sent again after two minutes.
LONGEST = 240.0
# Seconds until what has ended is begun again.
PAUSE = 1.0
SMALL, MIDDLE = 80, 12
MOST_COMMANDS = 10


@dataclass
class World:
    """The servers that all rounds use."""

    database: Postgres
    source: OddStore
    dest: OddStore
    near_dest: Proxy


@contextlib.contextmanager
def world() -> Iterator[World]:
    with (
        Postgres(durable=True, also=FAR) as database,
        OddStore() as source,
        OddStore() as dest,
        Proxy(dest) as near_dest,
    ):
        near_dest.rule(Delay(SLOW), method="PUT|POST", key=".")
        yield World(database, source, dest, near_dest)


class Round(ABC):
    """Machines that transfer the objects of a new bucket, through a new database."""

    def __init__(self, world: World, folder: Path, plan: Plan) -> None:
        self.world, self.folder, self.plan = world, folder, plan
        self._dice = random.Random(plan.seed)
        self.address = world.database.database()
        self.source = Side(world.source, world.source.bucket("source"))
        self.dest = Side(world.near_dest, world.dest.bucket("destination"))
        self.objects = {
            **{f"{n % 7}/{n:03}": blob(self._dice.randrange(50_000), n) for n in range(SMALL)},
            **{f"middle/{n:02}": blob(MIB + n, n) for n in range(MIDDLE)},
            "parted": blob(6 * MIB, 1),
            **{f"giant/{n}": blob((11 + 5 * n) * MIB, n) for n in range(2)},
        }
        self.source.put(self.objects)
        self._cut = Cut(world.database.port)
        self._is_cut = False
        self._database_lives = True
        self._next_start = 0.0
        places = [self.place(CUT_HELPER), self.address]
        self._machines = [
            Machines(self._made(f"helper-{n}"), place, KEY) for n, place in enumerate(places)
        ]
        self._helpers = [self._help(n) for n in range(len(places))]

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def place(self, fault: str) -> str:
        """The address of the database for who is cut off by this fault."""
        return self.address.replace("127.0.0.1", FAR if fault in self.plan.faults else "127.0.0.1")

    def clock(self, number: int) -> dict[str, str]:
        """The environment of a machine with the clock that is planned for it."""
        ahead = self.plan.clocks[number]
        return off_by(ahead) if ahead else {}

    def _help(self, n: int) -> subprocess.Popen[str]:
        # Its own keys: a command has no secrets that it could share.
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        return self._machines[n].start(**keys, **self.clock(n))

    # ------------------------------------------------------------------------------- who runs it

    @abstractmethod
    def begin(self) -> None:
        """Begin the transfer."""

    @property
    @abstractmethod
    def leader(self) -> subprocess.Popen[str]:
        """Who runs the transfer now, or is about to."""

    @abstractmethod
    def replace_leader(self) -> None:
        """The leader does not answer: begin another one, if none stands by."""

    @abstractmethod
    def restart(self) -> None:
        """Begin again what has ended before the transfer was over."""

    @abstractmethod
    def over(self) -> bool:
        """Whether the transfer is over."""

    @abstractmethod
    def judge(self) -> None:
        """End who ran it. Raises AssertionError if the ledger is not as it should be."""

    # -------------------------------------------------------------------------------- what happens

    def run(self) -> None:
        """Raises AssertionError if anything is wrong in the end."""
        self._wait_for_helpers()
        self.begin()
        writes = self.world.near_dest
        self._wait_for(lambda: writes.count("PUT", status=200) > 0, "nothing is written")
        began, steps = time.monotonic(), list(self.plan.steps)
        while steps or not self.over():
            while steps and time.monotonic() >= began + steps[0][0]:
                getattr(self, steps.pop(0)[1])()
            assert time.monotonic() < began + LONGEST, "it does not end"
            if self._database_lives and not self._is_cut and time.monotonic() > self._next_start:
                for n, helper in enumerate(self._helpers):
                    if helper.poll() is not None:
                        self._helpers[n] = self._help(n)
                self.restart()
                self._next_start = time.monotonic() + PAUSE
            time.sleep(0.1)
        self.judge()
        # One that has just begun would say that it was interrupted.
        self._wait_for_helpers()
        for machines, helper in zip(self._machines, self._helpers, strict=True):
            if helper.poll() is None:
                machines.end(helper)
        self._wait_for(lambda: not self._processes(), "processes are left", 20.0)
        self._judge_destination()
        for file in self.folder.rglob("*"):
            if file.suffix == ".log" or file.name == "said":
                assert "Traceback" not in file.read_text(errors="replace"), file

    def _wait_for_helpers(self) -> None:
        """Until each of them waits for work, or has ended."""
        for machines, helper in zip(self._machines, self._helpers, strict=True):
            ready = partial(_is_ready, machines, helper)
            self._wait_for(ready, "a helper neither begins nor ends")

    def _judge_destination(self) -> None:
        dest = self.world.dest.buckets[self.dest.bucket]
        found = {key: stored.body for key, stored in dest.objects.items()}
        wrong = [key for key in {*self.objects, *found} if self.objects.get(key) != found.get(key)]
        assert not wrong, f"missing or different: {sorted(wrong)}"
        assert not dest.uploads, f"uploads are left: {dest.uploads}"

    def _wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self._processes()}"
            time.sleep(0.1)

    def _processes(self) -> list[psutil.Process]:
        """Those of this round. All have homes in its folder."""
        found = []
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = each.environ().get("HOME", "").startswith(str(self.folder))
                if mine and each.status() != psutil.STATUS_ZOMBIE:
                    found.append(each)
        return found

    def clear(self) -> None:
        """Leave nothing for the next round."""
        self.mend_network()
        for each in self._processes():
            with contextlib.suppress(psutil.Error):
                each.kill()
        for machines in self._machines:
            machines.__exit__()
        if not self._database_lives:
            self.start_database()
        self.world.database.drop(self.address)
        self.world.near_dest.forget()
        for store, side in ((self.world.source, self.source), (self.world.dest, self.dest)):
            store.drop(side.bucket)
            store.requests.clear()

    # ----------------------------------------------------------------------------- steps of faults

    def kill_worker(self) -> None:
        found = [each for each in self._processes() if each.name().startswith("dth-worker")]
        for each in self._dice.sample(found, k=min(1, len(found))):
            each.kill()

    def kill_helper(self) -> None:
        _signal(self._helpers[0], signal.SIGKILL)

    def kill_leader(self) -> None:
        self.leader.kill()

    def kill_leading_machine(self) -> None:
        _signal(self.leader, signal.SIGKILL)

    def kill_database(self) -> None:
        self.world.database.kill()
        self._database_lives = False

    def start_database(self) -> None:
        self.world.database.start()
        self._database_lives = True

    def stop_leader(self) -> None:
        self._stopped_leader = self.leader
        _signal(self._stopped_leader, signal.SIGSTOP)
        self.replace_leader()

    def wake_leader(self) -> None:
        _signal(self._stopped_leader, signal.SIGCONT)

    def stop_helper(self) -> None:
        self._stopped_helper = self._helpers[1]
        _signal(self._stopped_helper, signal.SIGSTOP)

    def wake_helper(self) -> None:
        _signal(self._stopped_helper, signal.SIGCONT)

    def cut_off_leader(self) -> None:
        self.cut_off()
        self.replace_leader()

    def cut_off(self) -> None:
        self._cut.__enter__()
        self._is_cut = True

    def mend_network(self) -> None:
        if self._is_cut:
            self._cut.__exit__()
        self._is_cut = False


def _is_ready(machines: Machines, helper: subprocess.Popen[str]) -> bool:
    return helper.poll() is not None or "waits for transfers" in machines.said(helper)


def _signal(machine: subprocess.Popen[str], number: int) -> None:
    """To all processes of a machine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(machine.pid, number)


class CommandRound(Round):
    """`dth s3 sync --database`. Who began it begins it again when it has not ended well."""

    def begin(self) -> None:
        self._commands: list[tuple[Dth, subprocess.Popen[str]]] = []
        self._start(self.place(CUT_LEADER), 2)

    def _start(self, address: str, clock: int) -> None:
        dth = Dth(self._made(f"command-{len(self._commands)}"))
        dth.env |= self.clock(clock)
        sides = between(self.source, self.dest)
        workers = ("--workers", "1", "--worker-number", "1", "--concurrency", "4")
        command = ("s3", "sync", *sides, *GIANT_OPTIONS, *workers, "--json", "--database", address)
        self._commands.append((dth, dth.start(*command)))

    @property
    def leader(self) -> subprocess.Popen[str]:
        going = [each for _, each in self._commands if each.poll() is None]
        return going[0] if going else self._commands[-1][1]

    def replace_leader(self) -> None:
        self._start(self.address, 3)

    def restart(self) -> None:
        if all(each.poll() not in (None, 0) for _, each in self._commands):
            assert len(self._commands) < MOST_COMMANDS, "no command ends well"
            self._start(self.address, 3)

    def over(self) -> bool:
        ended = [each.poll() for _, each in self._commands]
        return None not in ended and 0 in ended

    def judge(self) -> None:
        for dth, command in self._commands:
            out, err = command.communicate()
            (dth.home / "said").write_text(out + err)
            assert "internal error" not in err, err
            if command.returncode == 0:
                counts = counts_of(Done(0, out, err).json)
                check_ledger(counts, finished=True)
                assert counts.failed == counts.cancelled == counts.pending == 0, counts
                # A command that was begun after the end finds nothing to do.
                assert counts.done + counts.same == counts.listed == len(self.objects), counts
        left = ask(self.address, "SELECT id FROM dth.task")
        assert not left, f"the database still has {left}"


class HubRound(Round):
    """A task of a hub, with another hub that stands by. A service manager starts both again."""

    def begin(self) -> None:
        self._places = [self.place(CUT_LEADER), self.address]
        self._hubs = [self._hub(0), self._hub(1)]
        self._last = self._hubs[0]
        sizes = {name: str(size) for name, size in SIZES.items()}
        self._task = self._hubs[0].create(
            self.source, self.dest, maxCapacity="3", requestsInFlight="4", **sizes
        )

    def _hub(self, n: int) -> Hub:
        env = self.clock(n + 2)
        return Hub(self._made(f"hub-{n}"), "--database", self._places[n], DTH_KEY=KEY, **env)

    @property
    def leader(self) -> subprocess.Popen[str]:
        """While the database is away, the one that was the leader last."""
        if self._database_lives:
            [(name,)] = ask(self.address, "SELECT coalesce(max(name), '') FROM dth_hub.leader")
            leads = [hub for hub in self._hubs if f"-{hub.process.pid}-" in str(name)]
            self._last = (leads or self._hubs)[0]
        return self._last.process

    def replace_leader(self) -> None:
        """The other one stands by."""

    def restart(self) -> None:
        for n, hub in enumerate(self._hubs):
            if hub.process.poll() is not None:
                # It may end once more: the database may not be ready yet.
                with contextlib.suppress(AssertionError):
                    hub.start(DTH_KEY=KEY, **self.clock(n + 2))

    def over(self) -> bool:
        if not self._database_lives:
            return False
        [(progress,)] = ask(self.address, "SELECT progress FROM dth_hub.task")
        assert progress not in ("ERROR", "PAUSED", "STOPPED"), f"the task is {progress}"
        return progress == "DONE"

    def judge(self) -> None:
        self._wait_for(self._answers, "no hub answers")
        for hub in self._hubs:
            if hub.process.poll() is None:
                hub.close()
        found = ask(self.address, "SELECT status, count(*) FROM dth.record GROUP BY status")
        assert found == [("DONE", len(self.objects))], found
        left = ask(self.address, "SELECT id FROM dth.message")
        assert not left, f"messages are left: {left}"

    def _answers(self) -> bool:
        self.restart()
        for hub in self._hubs:
            with contextlib.suppress(HubError, OSError):
                (run,) = hub.runs(self._task)
                counts = run["counts"]
                balanced(counts)
                assert counts["failed"] == counts["cancelled"] == counts["pending"] == 0, counts
                assert counts["done"] == counts["listed"] == len(self.objects), counts
                return True
        return False
