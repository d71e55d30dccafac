"""What the processes of a task say in their logs, and what they measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dth.platforms.local.logs import LocalLogs
from dth.platforms.local.platform import open_platform
from tests.engine import Side, between, bodies
from tests.servers.proxy import Reply

if TYPE_CHECKING:
    from tests.engine import Dth
    from tests.servers.proxy import Proxy


async def test_a_run_is_told_and_measured(
    dth: Dth, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies(["good", "bad\x1b[2J"]))
    proxy_b.rule(Reply(403, "AccessDenied", "Not you"), method="PUT", key="bad")
    state = dth.home / "state"
    dth.sync(source, Side(proxy_b, dest.bucket), "--state", state, code=1)

    logs = LocalLogs(lambda _: state)
    assert {stream.name for stream in await logs.streams("t")} == {"finder", "worker-1"}
    finder, worker = [
        [event.message for event in (await logs.events("t", name)).events]
        for name in ("finder", "worker-1")
    ]
    for told, role in ((finder, "finder"), (worker, "worker")):
        assert told[0].startswith(f'INFO started role="{role}" pid=')
        assert told[-1] == "INFO ended code=0"
    [listed] = [line for line in finder if line.startswith("INFO run listed")]
    assert "listed=2 enqueued=2" in listed
    [failed] = [line for line in worker if "object failed" in line]
    assert failed.startswith(
        'WARNING object failed key="bad\\u001b[2J" reason="AccessDenied" detail="'
    )
    assert failed.endswith("attempts=1")
    assert "INFO drained" in worker

    with open_platform(state, "test") as platform:
        [gauge] = [each for each in await platform.gauges.all() if each.kind == "worker"]
    assert gauge.errors == 1
    assert 0 < gauge.started <= gauge.at


def test_the_reason_of_a_process_that_fails_is_told_although_it_logs_after_it(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    # The command's own first request asks for one key.
    proxy_a.rule(Reply(403, "AccessDenied", "no"), query="max-keys=1000")
    done = dth.run("s3", "sync", *between(Side(proxy_a, source.bucket), dest), "--quiet")
    assert done.code == 1
    assert "AccessDenied" in done.err.splitlines()[0]
