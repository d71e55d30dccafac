"""All ports of one task."""

from dataclasses import dataclass

from dth.core.ports.gauges import Gauges
from dth.core.ports.images import Images
from dth.core.ports.limits import Limits
from dth.core.ports.queue import Queue
from dth.core.ports.records import Records
from dth.core.ports.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Platform:
    """All ports of one task, as one of its processes gets them."""

    queue: Queue
    records: Records
    images: Images
    uploads: Uploads
    limits: Limits
    gauges: Gauges
