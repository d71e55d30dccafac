"""The time that processes of several machines compare with each other.

The clocks of machines differ. Where machines share a database, each follows the clock of that
database. Elsewhere this is the clock of the machine.
"""

import time


class _Followed:
    """Of this process. All databases that it uses at a time are on one server."""

    ahead = 0.0


def now() -> float:
    """Seconds since the epoch: for times that others read, and to compare with theirs."""
    return time.time() + _Followed.ahead


def here(moment: float) -> float:
    """The same moment by the clock of this machine, for a comparison with another clock of which
    only the difference to this one is known."""
    return moment - _Followed.ahead


def follow(ahead: float) -> None:
    """Follow a clock that is this number of seconds ahead of the machine's."""
    _Followed.ahead = ahead
