"""What copies images, with less patience: nobody pays for it here."""

from __future__ import annotations

import sys

from dth.compose.aws import copy_images
from dth.images import worker

copy_images.IDLE = 2.0
copy_images.LOOK = 0.2
worker.HEARTBEAT = 1.0

if __name__ == "__main__":
    sys.exit(copy_images.main())
