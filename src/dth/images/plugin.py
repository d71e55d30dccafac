"""The plugin's interface to the hub (entry point `dth.plugins`)."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from dth.core import confinement
from dth.core.errors import UsageError
from dth.core.plugin import SIDES, AwsTask, Ends, Plugin
from dth.core.ports.images import ImageRecord
from dth.core.ports.platform import Platform
from dth.core.ports.records import Enqueued, Page, Record
from dth.core.ports.runs import Counts
from dth.core.prices import Prices
from dth.core.secret_bindings import PORTS
from dth.core.secrets import SecretUse
from dth.images.messages import CopyOrder, encode, has_place
from dth.images.parameters import DestType, EcrParameters, SourceType, missing
from dth.images.registry.reference import DOCKER_HUB, parse_within
from dth.images.task import secret_uses

# Stands for the registry, which the copier determines.
ANY = "destination"
GIB = 1024**3
# USD per GiB that leaves an AWS region; list prices of 2026-11.
REGION_GIB, INTERNET_GIB = 0.02, 0.09


class ImagesPlugin(Plugin):
    """Tasks that copy images. One worker copies several at once.

    Images are never deleted at the destination. Two tasks may write to one registry: an image that
    already exists is not work for the second.
    """

    type = "ECR"
    things = "images"
    parameters = EcrParameters
    processes = "dth.images.processes"
    worker_per_machine = True
    aws = AwsTask(
        "ecr",
        ("objects", "images", "state"),
        network={
            "ecsVpcId": "vpc",
            "ecsSubnetA": "first_subnet",
            "ecsSubnetB": "last_subnet",
            "ecsClusterName": "cluster",
            "publicIp": "public_ip",
        },
        code={"taskImage": "task_image"},
        executes_runs=True,
    )

    def check(self, parameters: EcrParameters) -> None:
        for side in SIDES:
            self.check_side(parameters, side)
        unchanged = not parameters.dest_prefix and not parameters.rename_rules
        if unchanged and _place(parameters, "source") == _place(parameters, "destination"):
            raise UsageError(
                "destPrefix: source and destination are one registry; give a prefix or a "
                "rename rule"
            )

    def check_side(self, parameters: EcrParameters, side: str) -> None:
        for name in missing(parameters, side):
            raise UsageError(f"{name}: it has to be given")
        start = "src" if side == "source" else "dest"
        for name in (f"{start}_registry", f"{start}_registry_host", f"{start}_endpoint"):
            value: str = getattr(parameters, name)
            try:
                if value and name.endswith("endpoint"):
                    confinement.check_host(_host_of_endpoint(value))
                elif value:
                    confinement.check_host(urlsplit(f"//{value}").hostname or "")
            except UsageError as error:
                raise UsageError(f"{EcrParameters.model_fields[name].alias}: {error}") from None

    def ends(self, parameters: EcrParameters) -> Ends:
        dest = _place(parameters, "destination")
        prefix = f"/{parameters.dest_prefix}" if parameters.dest_prefix else ""
        return Ends(_place(parameters, "source"), f"{dest}{prefix}", dest)

    async def again(
        self, platform: Platform, parameters: EcrParameters, run: int, failed: Sequence[Record]
    ) -> Page:
        return await again(platform, parameters, run, failed)

    def secret_uses(
        self, parameters: EcrParameters, sides: Sequence[str] = SIDES
    ) -> list[SecretUse]:
        return secret_uses(parameters, sides)

    def unpriced(self, parameters: EcrParameters, prices: Prices) -> str:
        return "" if parameters.source_type is SourceType.AMAZON_ECR else "the source's registry"

    def spent(
        self, parameters: EcrParameters, runs: Sequence[Counts], prices: Prices
    ) -> float | None:
        """Return the price of the bytes that left an AWS region, by list prices.

        None for a source registry outside AWS, because its prices are unknown.
        """
        if self.unpriced(parameters, prices):
            return None
        if parameters.dest_type is not DestType.AMAZON_ECR:
            price = INTERNET_GIB
        else:
            price = REGION_GIB if parameters.src_region != parameters.dest_region else 0.0
        return sum(counts.done_bytes for counts in runs) / GIB * price


PLUGIN = ImagesPlugin()


def _host_of_endpoint(url: str) -> str:
    """Return the host of a service's URL. Raises UsageError for anything else."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in PORTS or re.search(r"[\s?#]", url):
        raise UsageError(f"{url!r} is not http(s)://host[:port]")
    if "@" in parts.netloc:
        raise UsageError("it holds credentials; put them into a secret or a profile")
    return host


def _place(parameters: EcrParameters, side: str) -> str:
    """Return the registry's name for people."""
    if side == "source":
        if parameters.source_type is SourceType.PUBLIC:
            return "public registries"
        is_ecr = parameters.source_type is SourceType.AMAZON_ECR
        given = (parameters.src_registry, parameters.src_account_id, parameters.src_region)
    else:
        is_ecr = parameters.dest_type is DestType.AMAZON_ECR
        given = (parameters.dest_registry, parameters.dest_account_id, parameters.dest_region)
    registry, account, region = given
    return (
        f"Amazon ECR {account + ' ' if account else ''}{region}"
        if is_ecr
        else registry or DOCKER_HUB
    )


async def again(
    platform: Platform, parameters: EcrParameters, run: int, failed: Sequence[Record]
) -> Page:
    """A page that sends the failed images again. Copies what exists now, whatever it was at the
    failure."""
    before = await platform.images.latest([record.key for record in failed])
    # An image without a place still has none: the task's names would have to change.
    orders = [
        _again(run, before[record.key], parameters)
        for record in failed
        if record.key in before and has_place(record.key)
    ]
    await platform.images.write([order.record() for order in orders])
    return Page(
        Counts(listed=len(orders)),
        enqueued=[Enqueued(order.key, 0, "", "") for order in orders],
        messages=[encode(order) for order in orders],
    )


def _again(run: int, image: ImageRecord, parameters: EcrParameters) -> CopyOrder:
    # `parse` might not recognize it as a registry.
    registry = image.source.partition("/")[0]
    source = parse_within(registry, image.source)
    dest = parse_within(ANY, f"{ANY}/{image.key}")
    return CopyOrder(run, source, dest, about=image.about, platforms=parameters.platforms)
