"""The beginning of a conversation with a PostgreSQL of another version: it lets everybody in."""

from __future__ import annotations

import socketserver
import struct
import threading
from typing import Self


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


class _Conversation(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while True:
            size, code = struct.unpack("!II", self.request.recv(8))
            self.request.recv(size - 8) if size > 8 else None
            if code != 80877103 and code != 80877104:
                break
            self.request.sendall(b"N")  # neither TLS nor GSSAPI
        assert isinstance(self.server, OldPostgres)
        told = {"server_version": self.server.version, "server_encoding": "UTF8"}
        told |= {"client_encoding": "UTF8", "standard_conforming_strings": "on"}
        # Version 14 says at once whether it accepts writes.
        told |= {"in_hot_standby": "off", "default_transaction_read_only": "off"}
        answer = _message(b"R", struct.pack("!I", 0))
        for name, value in told.items():
            answer += _message(b"S", f"{name}\0{value}\0".encode())
        self.request.sendall(answer + _message(b"Z", b"I"))
        self.request.recv(1024)


class OldPostgres(socketserver.ThreadingTCPServer):
    """Says that it is of this version, and nothing more."""

    daemon_threads = True

    def __init__(self, version: str) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.version = version
        self.address = f"postgresql://dth@127.0.0.1:{self.server_address[1]}/dth"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
