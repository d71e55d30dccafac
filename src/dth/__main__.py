"""`dth` and `python -m dth`."""

import gc

from dth import interrupts

# Importing takes a moment, and there is nothing to clean up yet.
interrupts.handle(interrupts.leave)

# What is imported stays: looking for garbage among it took a tenth of the start.
gc.set_threshold(50_000, 20, 100)

from dth.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
