"""What a hub says of its process and disk, for Prometheus."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from dth.platforms.local import process_metrics


def test_the_vitals_are_those_of_this_process(tmp_path: Path) -> None:
    before = time.process_time()
    text = process_metrics.exposition(tmp_path)
    lines = text.splitlines()
    found = {
        name: float(value)
        for name, value in re.findall(r"^([a-z_]+)(?:{.*})? (\S+)$", text, re.MULTILINE)
    }
    for name in found:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"# TYPE {name} "))
        assert lines[at - 1].startswith(f"# HELP {name} ")
        assert lines[at].endswith("counter" if name.endswith("_total") else "gauge")
    assert re.search(r'^dth_build_info{version="[0-9][^"]*"} 1$', text, re.MULTILINE)
    assert 0 < found["dth_data_free_bytes"] <= found["dth_data_size_bytes"]
    assert before - 0.02 <= found["process_cpu_seconds_total"] <= time.process_time() + 0.02
    assert 0 < time.time() - found["process_start_time_seconds"] < 86_400
    assert 3 <= found["process_open_fds"] <= found["process_max_fds"]
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = found["process_resident_memory_bytes"] / os.sysconf("SC_PAGE_SIZE")
    assert abs(resident - pages) < 0.2 * pages
