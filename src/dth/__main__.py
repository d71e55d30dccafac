"""`dth` and `python -m dth`."""

import atexit
import gc

from dth import interrupts

# Importing takes a moment, and there is nothing to clean up yet.
interrupts.handle(interrupts.leave)

# What is imported stays. Looking for garbage among it, and once more at the end, took a fifth of a short command.
gc.set_threshold(200_000, 20, 100)
atexit.register(gc.freeze)

from dth.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
