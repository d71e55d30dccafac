"""The runs of a task: their states, counters, notes and cursors, and the switch that pauses them.

In the state table:

| pk | sk | |
|---|---|---|
| `task` | `runs` | the `last` number, the `open` runs, `floor`: all runs up to it were cancelled |
| `task` | `pause` | why the task is paused |
| `run#<run>` | `head` | the run, and what its finder counted |
| `run#<run>` | `ledger#<writer>` | what a process counted, and the batch it is writing (`ledger`) |
| `run#<run>` | `note#<hash>` | a note |
| `cursors#<run>` | the cursor's id | |
| `digest#<run>` | `digest` | the digest of its records, as far as it was read (`records`) |
"""

import hashlib
import time
from dataclasses import dataclass, field, fields
from typing import Any

from dth.core.errors import UsageError
from dth.core.ports.runs import Counts, Cursor, Run, RunKind, RunState
from dth.platforms.aws.dynamo import Dynamo, TransactItem, each_of
from dth.platforms.aws.items import Item, line

ENDED = (RunState.DONE, RunState.FAILED)
LISTED = (RunState.TRANSFERRING, RunState.DELETING)
COUNTED = tuple(each.name for each in fields(Counts))
# Beginning of attributes of ledgers: when the first of the run's records may expire, by the days
# for which they are kept.
UNTIL = "until"
# Seconds for which a cancellation may go unnoticed.
FLOOR_AGE = 10.0
# The newest runs to read when everything is cancelled.
LOOKED_AT = 100

STATE_KEY = {"pk": "task", "sk": "runs"}
PAUSE_KEY = {"pk": "task", "sk": "pause"}


@dataclass(frozen=True, slots=True)
class Floor:
    """All runs up to this one were cancelled, and why."""

    run: int = 0
    reason: str = ""


@dataclass(slots=True)
class _Runs:
    last: int = 0
    open: set[int] = field(default_factory=set)
    floor: Floor = field(default_factory=Floor)


class Runs:
    """The runs of one task in its state table."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo
        self._floor = Floor()
        self._floor_read = -FLOOR_AGE

    async def begin(self, kind: RunKind, beside: bool) -> tuple[Run, bool]:
        finished = (*ENDED, *LISTED) if beside else ENDED
        while True:
            state = await self._state()
            heads = await self._dynamo.get_many(
                "state", [head_key(number) for number in state.open]
            )
            going = [
                int(head["pk"].removeprefix("run#"))
                for head in heads
                if head["kind"] == kind.value and head["state"] not in finished
            ]
            if going:
                return await self.get(max(going)), True
            new = Run(state.last + 1, kind, RunState.LISTING, time.time())
            head = {
                **head_key(new.id),
                "kind": kind.value,
                "state": new.state.value,
                "started": new.started,
            }
            taken = TransactItem(
                "state",
                STATE_KEY,
                update="SET #last = :new ADD #open :set",
                condition="#last = :last" if state.last else "attribute_not_exists(#last)",
                values={"new": new.id, "last": state.last, "set": {new.id}},
            )
            if not await self._dynamo.transact([taken, TransactItem("state", item=head)]):
                return new, False

    async def find(self, number: int) -> Run | None:
        """The run with the sum of its counters."""
        items = [
            item
            async for item in self._dynamo.query(
                "state", "#pk = :pk", {"pk": head_key(number)["pk"]}
            )
        ]
        head = next((item for item in items if item["sk"] == "head"), None)
        if head is None:
            return None
        counts = Counts(**{name: sum(item.get(name, 0) for item in items) for name in COUNTED})
        # After a cancellation as a whole, nobody counted the single objects.
        if head.get("rest"):
            counts.cancelled = max(counts.cancelled, counts.enqueued - counts.done - counts.failed)
            kept = counts.delete_enqueued - counts.deleted - counts.delete_failed
            counts.delete_kept = max(counts.delete_kept, kept)
        untils = [each for item in items for name, each in item.items() if name.startswith(UNTIL)]
        notes = sorted(
            (item for item in items if item["sk"].startswith("note#")), key=lambda each: each["at"]
        )
        return Run(
            number,
            RunKind(head["kind"]),
            RunState(head["state"]),
            head["started"],
            head.get("ended", 0.0),
            head.get("error", ""),
            [note["note"] for note in notes],
            counts,
            min(untils, default=0.0),
        )

    async def get(self, number: int) -> Run:
        """Raises UsageError if there is no such run."""
        run = await self.find(number)
        if run is None:
            raise UsageError(f"There is no run {number}")
        return run

    async def newest(self, limit: int) -> list[Run]:
        found = await each_of(self.find, await self.numbers(limit))
        return [run for run in found if run]

    async def numbers(self, limit: int) -> range:
        """The numbers of the newest runs, newest first."""
        last = (await self._state()).last
        return range(last, max(0, last - limit), -1)

    async def set(self, number: int, state: RunState, error: str) -> None:
        ended = state in ENDED
        values = {
            "state": state.value,
            "error": line(error),
            "ended": time.time() if ended else 0.0,
        }
        head = TransactItem(
            "state",
            head_key(number),
            update="SET #state = :state, #error = :error, #ended = :ended",
            condition="attribute_exists(#pk)",
            values=values,
        )
        change = "DELETE #open :set" if ended else "ADD #open :set"
        await self._dynamo.transact(
            [head, TransactItem("state", STATE_KEY, update=change, values={"set": {number}})]
        )

    async def note(self, number: int, note: str) -> None:
        """Add a note to a run; the same note again changes nothing."""
        note = line(note)
        name = f"note#{hashlib.sha256(note.encode()).hexdigest()[:16]}"
        item = {"pk": head_key(number)["pk"], "sk": name, "note": note, "at": time.time_ns()}
        await self._dynamo.put("state", item, "attribute_not_exists(#pk)")

    async def ledgers(self, number: int) -> list[Item]:
        """The counts of each writer for a run."""
        values = {"pk": head_key(number)["pk"], "ledger": "ledger#"}
        found = self._dynamo.query("state", "#pk = :pk AND begins_with(#sk, :ledger)", values)
        return [item async for item in found]

    # -------------------------------------------------------------------------------------- cursors

    async def cursors(self, number: int) -> list[Cursor]:
        values = {"pk": f"cursors#{number:010d}"}
        found = [_cursor(item) async for item in self._dynamo.query("state", "#pk = :pk", values)]
        return sorted(found, key=lambda cursor: (cursor.scope, _bytes(cursor.after)))

    # -------------------------------------------------------------------------------------- pausing

    async def pause(self, reason: str) -> None:
        await self._dynamo.put(
            "state", {**PAUSE_KEY, "reason": line(reason) or "paused"}, "attribute_not_exists(#pk)"
        )

    async def resume(self) -> None:
        await self._dynamo.delete("state", PAUSE_KEY)

    async def paused(self) -> str:
        return str((await self._dynamo.get("state", PAUSE_KEY)).get("reason", ""))

    # ----------------------------------------------------------------------------------- cancelling

    async def floor(self, *, now: bool = False) -> Floor:
        """The run up to which everything was cancelled: the value of this moment with `now`,
        otherwise a value up to `FLOOR_AGE` seconds old."""
        if now or time.monotonic() - self._floor_read >= FLOOR_AGE:
            self._floor = (await self._state()).floor
            self._floor_read = time.monotonic()
        return self._floor

    async def cancel(self, reason: str) -> list[int]:
        """End all runs: objects without an outcome are cancelled, and pending deletes are dropped.
        No record is written: PENDING records are read as cancelled from then on. Returns the runs
        that were not balanced."""
        state = await self._state()
        runs = [
            run
            for run in await self.newest(LOOKED_AT)
            if run.id in state.open or not run.counts.balanced
        ]
        for run in runs:
            await self._end(run, line(reason))
        if state.floor.run < state.last:
            update = "SET #floor = :floor, #reason = :reason"
            values: dict[str, Any] = {"floor": state.last, "reason": line(reason)}
            if state.open:
                update += " DELETE #open :open"
                values["open"] = state.open
            await self._dynamo.update("state", STATE_KEY, update, values=values)
        self._floor_read = -FLOOR_AGE
        return [run.id for run in runs]

    async def _end(self, run: Run, reason: str) -> None:
        update = "SET #rest = :rest"
        values: dict[str, Any] = {"rest": True}
        if run.state not in ENDED:
            update += ", #state = :state, #error = :error, #ended = :now"
            values |= {"state": RunState.FAILED.value, "error": reason, "now": time.time()}
        await self._dynamo.update("state", head_key(run.id), update, values=values)

    async def _state(self) -> _Runs:
        item = await self._dynamo.get("state", STATE_KEY)
        floor = Floor(item.get("floor", 0), item.get("reason", ""))
        return _Runs(item.get("last", 0), item.get("open", set()), floor)


def head_key(number: int) -> Item:
    return {"pk": f"run#{number:010d}", "sk": "head"}


def count_head(number: int, counts: dict[str, int]) -> TransactItem:
    """The part of a transaction that adds to a run's counters."""
    added = {name: count for name, count in counts.items() if count}
    if not added:
        return TransactItem("state", head_key(number), condition="attribute_exists(#pk)")
    update = "ADD " + ", ".join(f"#{name} :{name}" for name in added)
    return TransactItem(
        "state", head_key(number), update=update, condition="attribute_exists(#pk)", values=added
    )


def write_cursor(number: int, cursor: Cursor) -> TransactItem:
    item = {
        "pk": f"cursors#{number:010d}",
        "sk": cursor.id,
        "scope": cursor.scope,
        "after": _bytes(cursor.after),
        "upto": _bytes(cursor.upto),
        "position": _bytes(cursor.position),
        "finished": cursor.finished,
    }
    return TransactItem("state", item=item)


def _cursor(item: Item) -> Cursor:
    after, upto, position = (
        item[name].decode("utf-8", "surrogateescape") for name in ("after", "upto", "position")
    )
    return Cursor(item["sk"], item["scope"], after, upto, position, item["finished"])


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
