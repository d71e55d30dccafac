"""`dth` and `python -m dth`."""

import atexit
import gc
import os

from dth.core import interrupts

# Importing takes a moment, and there is nothing to clean up yet.
interrupts.handle(interrupts.leave)

# What is imported stays. Looking for garbage among it, and once more at the end, took a fifth of a
# short command.
gc.set_threshold(200_000, 20, 100)
atexit.register(gc.freeze)
# No plugin of pydantic has a part in this. Looking for one reads what every package here says of
# itself.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from dth.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
