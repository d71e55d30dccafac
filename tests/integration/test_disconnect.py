"""A client that leaves while it asks."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.hub import Hub


def test_a_client_that_leaves_is_no_fault_of_ours(hub: Hub) -> None:
    """As browsers do when a page is left. The harness fails a hub that printed a traceback."""
    place = urlsplit(hub.url)
    for _ in range(5):
        with socket.create_connection((place.hostname or "", place.port or 0)) as connection:
            head = f"POST /graphql HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-length: 1000\r\n"
            connection.sendall(f"{head}authorization: Bearer {hub.token}\r\n\r\n{{".encode())
            time.sleep(0.1)
    assert hub.request("/healthz")[0] == 200
