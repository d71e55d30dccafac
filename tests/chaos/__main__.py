"""The command."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.chaos import __doc__ as description
from tests.chaos.plan import Plan
from tests.chaos.rounds import CommandRound, HubRound, Round, World, world


def one_round(servers: World, folder: Path, plan: Plan, kind: type[Round] | None = None) -> str:
    """What is wrong in the end; "" if nothing is. The folder stays if anything is. `kind`: other
    than the plan says."""
    folder.mkdir(parents=True)
    this = (kind or (HubRound if plan.by_hub else CommandRound))(servers, folder, plan)
    try:
        this.run()
    # Whatever it is, the other rounds go on.
    except Exception as error:  # noqa: BLE001
        (folder / "wrong").write_text(traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    finally:
        this.clear()
    shutil.rmtree(folder)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--first", type=int, default=1, help="the number of the first round")
    parser.add_argument("--most", type=int, default=2, help="the most faults in a round")
    parser.add_argument("--folder", type=Path, help="where failed rounds leave their files")
    given = parser.parse_args()
    # What a round has begun ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    base = given.folder or Path(tempfile.mkdtemp(prefix="dth-chaos-"))
    faults, wrong = Counter[str](), list[int]()
    with world() as servers:
        for number in range(given.first, given.first + given.rounds):
            plan = Plan.of(given.seed, number, given.most)
            began, folder = time.monotonic(), base / f"{given.seed}-{number}"
            problem = one_round(servers, folder, plan)
            took = f"{time.monotonic() - began:.0f} s"
            print(f"{number}: {plan}: {'WRONG' if problem else 'good'} after {took}", flush=True)
            faults.update(plan.faults.keys())
            if problem:
                wrong.append(number)
                print(f"    {problem[:1000]}\n    files: {folder}", flush=True)
    counted = ", ".join(f"{name}: {count}" for name, count in sorted(faults.items()))
    print(f"{given.rounds} rounds with seed {given.seed} ({counted}); wrong: {wrong or 'none'}")
    if not given.folder and not any(base.iterdir()):
        base.rmdir()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
