"""The tags of an object, which S3 answers in a separate request."""

from collections.abc import Mapping
from dataclasses import dataclass

from dth.core.errors import NotSupported, Throttled, TransferError
from dth.objects.store.answers import ENDPOINT_CODES
from dth.objects.store.client import S3Client
from dth.objects.store.pace import Scout

# How many objects are asked for their tags if the source does not show whether it counts tags.
LOOKS = 100


@dataclass(frozen=True, slots=True)
class Tags:
    """Tags in the format of the header of a write, and what is missing; "" if there is nothing."""

    value: str = ""
    reason: str = ""
    detail: str = ""


NO_TAGS = Tags()
REFUSED = Tags(reason="TagsRefused", detail="the destination takes no tags")


class TagReader:
    """Finds the tags of a task's objects with as few requests as the source allows.

    Most stores count an object's tags in the answer to a GET. AWS does so only for callers that may
    read them, and some stores never do. So the first objects without a count are asked for their
    tags anyway.
    """

    def __init__(self, source: S3Client, dest: S3Client) -> None:
        self._source = source
        self._dest = dest
        # One object shows whether tags may be read at all.
        self._scout = Scout()
        # The first of these looks is the scout's.
        self._looks = LOOKS - 1
        # Tries per look; 0: as many as for every request.
        self._attempts = 0

    async def of(self, key: str, answer: Mapping[str, str]) -> Tags:
        """The tags of the object, given the answer to its GET or HEAD. Raises TransferError."""
        count = answer.get("x-amz-tagging-count", "0")
        if count != "0" or self._are_counted() is False:
            return await self._ask(key, count)
        if not self._scout.returned:
            trouble = None
            async with self._scout as alone:
                if alone:
                    try:
                        return await self._ask(key, count)
                    except TransferError as error:
                        # The error belongs to this object. If it were the scout's, all others would
                        # be asked one by one.
                        trouble = error
            if trouble:
                raise trouble
        # The scout may have determined it.
        counts = self._are_counted()
        if counts or (counts is None and not self._goes_on_looking()):
            return NO_TAGS
        return await self._ask(key, count)

    def _are_counted(self) -> bool | None:
        return self._source.capabilities.counts_tags

    async def _ask(self, key: str, count: str) -> Tags:
        known, here = self._dest.capabilities, self._source.capabilities
        if not known.tags:
            if count == "0":
                return NO_TAGS
            known.note(
                f"{self._dest.endpoint.profile.name} takes no tags; objects are written without"
            )
            return REFUSED
        try:
            value = await self._source.tags(key, attempts=self._attempts if count == "0" else 0)
        except NotSupported:
            if count != "0":
                raise
            # A store without tags has none to count.
            here.counts_tags = True
            return NO_TAGS
        except TransferError as error:
            if (
                count != "0"
                or not error.status
                or isinstance(error, Throttled)
                or error.code in ENDPOINT_CODES
            ):
                raise
            # The object itself was read, so this error is about its tags, which it may not even
            # have.
            here.note(
                f"tags of the source cannot be read ({error.code}); objects are written without"
            )
            # Tags are not counted either for callers that may not read them. Ask for each object,
            # and count it as incomplete.
            here.counts_tags = False
            self._attempts = 1
            return Tags(
                reason="TagsUnread", detail=f"its tags, if it has any, cannot be read: {error}"
            )
        if count != "0":
            here.counts_tags = True
            found = value.count("=")
            if count.isdecimal() and found < int(count):
                detail = f"the source counts {count} tags, and tells {found}"
                return Tags(value, "TagsUnread", detail)
        elif value and here.counts_tags is not False:
            here.counts_tags = False
            here.note(
                f"{self._source.endpoint.host} does not count tags; each object is asked for "
                "its tags"
            )
        return Tags(value)

    def _goes_on_looking(self) -> bool:
        """Whether to ask for the tags of an object while it is not known whether they would be
        counted."""
        self._looks -= 1
        if self._looks == -1:
            self._source.capabilities.note(
                f"{self._source.endpoint.host} counts no tags, and the first {LOOKS} objects "
                "have none; the others are not asked for theirs"
            )
        return self._looks >= 0
