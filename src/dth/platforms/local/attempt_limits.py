"""Limits on guessing passwords and links: failures are counted by what is guessed and by address,
and slow further tries down."""

from sqlalchemy import Connection, delete, select, update

from dth.platforms.local.addresses import network_of
from dth.platforms.local.hub_schema import attempt
from dth.platforms.local.sql import put

# Free tries, and the longest wait after them, in seconds. The wait doubles with every failure. The
# limit for a user is short, because anybody can cause it for anybody; an address only causes its
# own.
USER_TRIES = (5, 60.0)
ADDRESS_TRIES = (20, 900.0)
FORGET_AFTER = 900.0  # seconds without a failure

# What is counted, each with its free tries and longest wait.
Subjects = list[tuple[str, tuple[int, float]]]


def subjects_of(address: str, guessed: str) -> Subjects:
    """What a try counts for. `address`: where it comes from, "" if unknown; `guessed`: such as
    "user:ann", "" if it cannot exist."""
    subjects = [(f"address:{network_of(address)}", ADDRESS_TRIES)] if address else []
    return [*subjects, (guessed, USER_TRIES)] if guessed else subjects


def count_try(connection: Connection, subjects: Subjects, now: float) -> float:
    """Count one failure, or return the seconds to wait; in that case nothing is counted."""
    connection.execute(delete(attempt).where(attempt.c.until < now - FORGET_AFTER))
    names = [name for name, _ in subjects]
    rows = connection.execute(select(attempt).where(attempt.c.subject.in_(names)))
    known = {row.subject: row for row in rows}
    longest = dict(subjects)
    # If the clock was set back, nobody waits longer than the longest wait.
    waits = (min(row.until - now, longest[name][1]) for name, row in known.items())
    wait = max(waits, default=0.0)
    if wait > 0:
        return wait
    for name, (free, most) in subjects:
        failures = (known[name].failures if name in known else 0) + 1
        pause = min(most, 2.0 ** min(failures - free, 20)) if failures >= free else 0.0
        values = {"subject": name, "failures": failures, "until": now + pause}
        put(connection, attempt, values)
    return 0.0


def take_back(connection: Connection, subjects: Subjects, now: float) -> None:
    """Remove the failure that was counted for a try that succeeded. It must not give additional
    tries at others."""
    for subject, _ in subjects:
        row = attempt.c.subject == subject
        connection.execute(
            update(attempt).where(row).values(failures=attempt.c.failures - 1, until=now)
        )
