"""The history of one task's images: `Image` is the image's key, `Tag` its run as ten digits.

A table of images is small, because it holds only images that runs had work with. So queries over
all images read the whole table.
"""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, fields

from dth.core.ports.images import ImageRecord
from dth.core.ports.status import Status
from dth.platforms.aws.dynamo import Dynamo, each_of
from dth.platforms.aws.items import Item, line
from dth.platforms.aws.tables import BY_RUN

# Maps each field to its attribute; `key` and `run` are the table's own.
NAMES = {each.name: each.name.title().replace("_", "") for each in fields(ImageRecord)} | {
    "key": "Image"
}


class AwsImages:
    """`ports.Images` over DynamoDB."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def write(self, images: Sequence[ImageRecord]) -> None:
        last = {(each.key, each.run): each for each in images}
        await each_of(self._write, list(last.values()))

    async def _write(self, image: ImageRecord) -> None:
        if image.status is Status.PENDING:
            condition = "attribute_not_exists(#Image) OR #Status = :pending"
            await self._dynamo.put(
                "images", _item(image), condition, {"pending": Status.PENDING.value}
            )
        else:
            await self._dynamo.put("images", _item(image))

    async def cancel_pending(self, reason: str) -> None:
        pending = {"pending": Status.PENDING.value}
        found = [item async for item in self._dynamo.scan("images", "#Status = :pending", pending)]
        values = {
            **pending,
            "cancelled": Status.CANCELLED.value,
            "reason": line(reason),
            "now": time.time(),
            "none": 0,
        }
        update = "SET #Status = :cancelled, #Reason = :reason, #Ended = :now, #Moved = :none"

        async def cancel(item: Item) -> None:
            key = {"Image": item["Image"], "Tag": item["Tag"]}
            await self._dynamo.update("images", key, update, "#Status = :pending", values)

        await each_of(cancel, found)

    async def copied(self) -> dict[str, ImageRecord]:
        done = self._dynamo.scan("images", "#Status = :done", {"done": Status.DONE.value})
        return await _newest(done)

    async def latest(self, keys: Sequence[str]) -> dict[str, ImageRecord]:
        found = await each_of(lambda key: self.history(key, 1), list(dict.fromkeys(keys)))
        return {images[0].key: images[0] for images in found if images}

    async def history(self, key: str, limit: int = 100) -> list[ImageRecord]:
        found: list[ImageRecord] = []
        query = self._dynamo.query(
            "images", "#Image = :key", {"key": key}, limit=limit, newest=True
        )
        async for item in query:
            found.append(_image(item))
            if len(found) == limit:
                break
        return found

    async def page(
        self,
        run: int | None = None,
        *,
        status: Status | None = None,
        prefix: str = "",
        reason: str = "",
        after: str = "",
        limit: int = 100,
    ) -> list[ImageRecord]:
        if run is None:
            every = sorted((await _newest(self._dynamo.scan("images"))).items())
            images = [image for key, image in every if key.startswith(prefix) and key > after]
        else:
            images = [_image(item) async for item in self._of_run(run, prefix, after)]
        wanted = (
            image
            for image in images
            if (not status or image.status is status) and (not reason or image.reason == reason)
        )
        return [image for image, _ in zip(wanted, range(limit), strict=False)]

    async def _of_run(self, run: int, prefix: str, after: str) -> AsyncIterator[Item]:
        condition, values = "#Run = :run", {"run": run, "prefix": prefix, "after": after}
        if after and after >= prefix:
            condition += " AND #Image > :after"
        elif prefix:
            condition += " AND begins_with(#Image, :prefix)"
        async for item in self._dynamo.query("images", condition, values, index=BY_RUN.name):
            if not item["Image"].startswith(prefix):
                return
            yield item


async def _newest(items: AsyncIterator[Item]) -> dict[str, ImageRecord]:
    found: dict[str, ImageRecord] = {}
    async for item in items:
        image = _image(item)
        if image.key not in found or found[image.key].run < image.run:
            found[image.key] = image
    return found


def _item(image: ImageRecord) -> Item:
    values = asdict(image) | {
        "status": image.status.value,
        "detail": line(image.detail),
        "reason": line(image.reason),
    }
    return {"Tag": f"{image.run:010d}", **{NAMES[name]: value for name, value in values.items()}}


def _image(item: Item) -> ImageRecord:
    values = {name: item[attribute] for name, attribute in NAMES.items() if attribute in item}
    return ImageRecord(**{**values, "status": Status(values["status"])})
