"""Tests one side of a task with the parameters given so far: can it be reached and listed, and if
not, why?

Writes nothing.
"""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from dth.core.errors import HubError, ListingFailed, TransferError
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.images.parameters import EcrParameters, SourceList, SourceType
from dth.images.registry.reference import DOCKER_HUB
from dth.images.task import Front, ImageSource, open_front

SAMPLE = 20  # most repositories shown


@dataclass(slots=True)
class RegistryAnswer:
    """The result. `message` is one sentence, `advice` what to do about it, `detail` the original
    message.
    """

    registry: str = ""
    region: str = ""
    ok: bool = False
    message: str = ""
    advice: str = ""
    detail: str = ""
    milliseconds: int = 0
    # The first repositories, or the named images that exist.
    sample: list[str] = field(default_factory=list)
    more: bool = False  # not all are in `sample`

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def probe(
    parameters: EcrParameters, side: str, transport: Transport, secrets: SecretStore
) -> RegistryAnswer:
    """Test "source" or "destination". Raises no errors for what it finds."""
    found = RegistryAnswer(
        region=parameters.src_region if side == "source" else parameters.dest_region
    )
    started = time.monotonic()
    try:
        if side == "source" and parameters.source_type is SourceType.PUBLIC:
            await _names(ImageSource(parameters, transport), found)
        else:
            front = await open_front(parameters, side, transport, secrets)
            await _side(parameters, side, transport, front, found)
    except HubError as error:
        start = "src" if side == "source" else "dest"
        found.message = "The registry could not be used."
        found.advice = f"See the registry, region and {start}Credential."
        found.detail = str(error)
    found.milliseconds = round((time.monotonic() - started) * 1000)
    return found


async def _side(
    parameters: EcrParameters, side: str, transport: Transport, front: Front, found: RegistryAnswer
) -> None:
    found.registry = front.registry.host
    await front.registry.ping()
    if side == "source" and parameters.src_list is SourceList.SELECTED:
        await _names(ImageSource(parameters, transport, front), found)
        return
    found.ok = True
    if (side == "destination" and not front.control) or front.registry.host == DOCKER_HUB:
        found.message = f"{front.registry.host} answers."
        return
    try:
        names = await front.source().repositories()
    except ListingFailed as error:
        found.ok = side == "destination"
        found.message = f"{front.registry.host} answers, but does not list its repositories."
        found.advice = "" if found.ok else "Name the images in srcImageList."
        found.detail = str(error)
        return
    found.sample, found.more = names[:SAMPLE], len(names) > SAMPLE
    found.message = f"{front.registry.host} has {len(names)} repositories."


async def _names(origin: ImageSource, found: RegistryAnswer) -> None:
    """Look up the first named images."""
    wanted = (origin.selection.wanted or ())[:SAMPLE]
    source_of = origin.sources()
    lacking: list[str] = []
    try:
        for each in wanted:
            reference = each.reference
            found.registry = found.registry or reference.registry
            source = source_of(reference.registry)
            there: Any = (
                await source.images(reference.repository)
                if each.all_tags
                else await source.registry.head(reference.repository, reference.pointer)
            )
            (found.sample if there else lacking).append(str(reference))
    except TransferError as error:
        found.message, found.detail = "The images could not be looked up.", str(error)
        return
    found.more = len(origin.selection.wanted or ()) > SAMPLE
    found.ok = not lacking
    found.message = f"{len(found.sample)} of the {len(wanted)} images looked up are there."
    if lacking:
        found.advice, found.detail = "Correct srcImageList.", f"not there: {', '.join(lacking)}"
