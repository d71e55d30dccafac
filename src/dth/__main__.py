"""`dth` and `python -m dth`."""

import gc

gc.set_threshold(
    50_000, 20, 100
)  # what is imported stays: looking for garbage among it took a tenth of the start

from dth.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
