"""The contract suites: what holds on every platform, and what a store can do.

The ports of a task (`dth.core.ports`) and of the hub (`dth.hub.ports`) say in their docstrings what
each method does. The modules `test_*` here hold every platform to that: each test runs once on each
platform of `PLATFORMS` (`tests/contract/platforms.py`). What only one platform has is tested
elsewhere (`tests/unit/test_local_*.py`, `tests/aws`).

| suite | ports |
|---|---|
| `test_queue` | `Queue` |
| `test_records` | `Records` |
| `test_images` | `Images` |
| `test_uploads` | `Uploads` |
| `test_limits` | `Limits` |
| `test_gauges` | `Gauges` |
| `test_hub` | the ports of the hub, from `Tasks` to `Jobs` |
"""
