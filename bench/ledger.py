"""What it costs to record outcomes on AWS: CPU of a worker per object, against a DynamoDB on
loopback that takes everything and keeps nothing.

    python -m bench.ledger [OBJECTS] [BATCH]
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import socket
import sys
import time

import uvloop

from dth.core.ports.records import Outcome
from dth.core.ports.status import Status
from dth.platforms.aws.platform import AwsNames, open_platform

ETAG = "0123456789abcdef0123456789abcdef"


async def _serve(listener: socket.socket) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
                body = await reader.readexactly(length)
                said: dict[str, object] = {}
                if b".batchexecutestatement" in head:
                    said = {
                        "Responses": [{"TableName": "o"} for _ in json.loads(body)["Statements"]]
                    }
                out = json.dumps(said).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(out), out)
                )

    server = await asyncio.start_server(answer, sock=listener)
    await server.serve_forever()


def _run(listener: socket.socket) -> None:
    asyncio.run(_serve(listener))


async def measure(url: str, objects: int, batch: int) -> float:
    """Seconds of CPU per object."""
    names = AwsNames("t", "us-east-1", "q", "d", "o", "p", "i", "s", endpoint=url)
    async with open_platform(names, "w1", io.StringIO()) as platform:

        async def settle(first: int) -> None:
            keys = (f"photos/2026/{n:09}.jpg" for n in range(first, first + batch))
            outcomes = [Outcome(key, 1, Status.DONE, 10_240, ETAG, ETAG) for key in keys]
            await platform.records.settle(outcomes)

        await settle(0)
        begun = time.process_time()
        for first in range(0, objects, batch):
            await settle(first)
        return (time.process_time() - begun) / objects


def main() -> None:
    given = [int(each) for each in sys.argv[1:]]
    objects, batch = (*given, *(5000, 100)[len(given) :])
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = multiprocessing.Process(target=_run, args=(listener,), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        spent = uvloop.run(measure(url, objects, batch))
        server.terminate()
    print(f"{spent * 1000:.3f} ms of CPU per object, in batches of {batch}")


if __name__ == "__main__":
    main()
