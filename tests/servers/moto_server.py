"""moto in a process of its own: a second opinion on S3. It checks neither signatures nor
digests."""

from __future__ import annotations

import sys

from .process import Process
from .s3 import S3Server

_PROGRAM = """
import signal
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("serving", "http://%s:%s" % server.get_host_and_port(), flush=True)
signal.sigwait([signal.SIGTERM])
"""


class MotoServer(S3Server):
    def __init__(self) -> None:
        self.process = Process([sys.executable, "-c", _PROGRAM])
        self.url = self.process.wait_for_line(r"serving (http://127\.0\.0\.1:\d+)")[1]

    def close(self) -> None:
        self.process.stop()
