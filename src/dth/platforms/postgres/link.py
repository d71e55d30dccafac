"""How this program connects to PostgreSQL, and notices that nobody is there any more."""

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

# Seconds after which a server counts as away that answers nothing, not even to the network.
SILENCE = 10
# A network that is cut closes no connection: without these, whoever waits for an answer waits for
# hours. What the address says about them comes first. Of several servers, and after a failover,
# the one that accepts writes is meant.
DEFAULTS: dict[str, Any] = {
    "connect_timeout": SILENCE,
    "keepalives_idle": SILENCE // 2,
    "keepalives_interval": 1,
    "keepalives_count": SILENCE // 2,
    "tcp_user_timeout": SILENCE * 1000,
    "target_session_attrs": "read-write",
}
# A process that is stopped or cut off in a transaction loses its locks: soon enough for the next
# hub to lead within ten seconds, and also where the server has an answer that nobody takes.
IDLE = (
    "SET LOCAL idle_in_transaction_session_timeout = '5s';"
    f" SET LOCAL tcp_user_timeout = '{SILENCE}s'"
)
# The connection is gone, or its server does not accept writes any more.
LOST = ("08", "57P", "25P03", "25006")


def patient(address: str) -> str:
    """The address with what it does not say about silence and servers."""
    return make_conninfo(**{**DEFAULTS, **conninfo_to_dict(address)})


def is_lost(error: BaseException | None) -> bool:
    """Whether the connection failed, and not the statement."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(LOST)
