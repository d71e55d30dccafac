"""Python imports this at its start, if the folder is in PYTHONPATH.

Where libfaketime leaves the monotonic clock alone, it makes every `time.sleep` fail.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex) -> None:
    """Sleep as long as asked."""
    select.select([], [], [], float(seconds))


time.sleep = sleep
