"""`python -m bench.kills [--kills N] [--seed N]`: a hub with eight tasks, whose processes are
killed with -9.

Objects come all the time, and the runs of a task overlap. Counted are tasks that never end, objects
that are missing or different, and writes that were done twice though no kill explains it.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.kills import KINDS, Kills

TASKS = 8
SMALL = 12  # new objects a task and kill
LARGE_EACH = 3  # rounds after which each task gets large ones, too
PAUSE = 2.0  # seconds at most between two kills
END = 180.0  # seconds for what is left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), TASKS, seed=options.seed)
        for n in range(options.kills):
            kills.add(f"{n:02}", SMALL, ("parted", "giant") if n % LARGE_EACH == 0 else ())
            time.sleep(dice.uniform(0.0, PAUSE))
            # Finders and controllers come and go: where there is none, a worker.
            if not kills.kill(dice.choice(KINDS)):
                _ = kills.kill("worker") or kills.kill("hub")
        kills.add("last", SMALL)
        report = kills.judge(END)
        kills.close()
    print(f"{options.kills} kills in {time.monotonic() - began:.0f} s: {report}")
    raise SystemExit(0 if report.good else 1)


if __name__ == "__main__":
    main()
