"""Tests one side of a task with the parameters given so far: whether it can be reached and listed,
and if not, why. Nothing is written."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from dth.core.errors import ObjectRefused, TransferError
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.objects.checks import policies
from dth.objects.checks.notes import LISTED, CheckedSide, SideTrouble
from dth.objects.compare.merge import Policy
from dth.objects.listing.pages import ListPage
from dth.objects.parameters import S3Parameters
from dth.objects.store.client import S3Client
from dth.objects.task import bucket_of, endpoint_of, key_map, open_side


@dataclass(slots=True)
class ProbeAnswer:
    """The result. `message` is one sentence, `advice` what to do about it, `detail` the original
    error."""

    endpoint: str
    bucket: str
    region: str
    ok: bool = False
    message: str = ""
    advice: str = ""
    detail: str = ""
    milliseconds: int = 0
    # The first keys below the prefix.
    sample: list[dict[str, Any]] = field(default_factory=list)
    more: bool = False  # there are more keys

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def tell(self, message: str, advice: str = "", detail: str = "") -> None:
        """Set the texts, as sentences."""
        self.message, self.advice, self.detail = _sentence(message), _sentence(advice), detail


async def probe(
    parameters: S3Parameters, side: str, transport: Transport, secrets: SecretStore
) -> ProbeAnswer:
    """Test "source" or "destination". Problems are in the result and not raised."""
    endpoint = endpoint_of(parameters, side)
    bucket = bucket_of(parameters, side)
    found = ProbeAnswer(endpoint.url, bucket, endpoint.region)
    started = time.monotonic()
    try:
        client = await open_side(parameters, side, transport, secrets, attempts=1)
        await _SideProbe(parameters, client, side, found).run()
    except TransferError as error:
        # The request for the region of a bucket on AWS failed.
        found.tell(*_of(SideTrouble.of(error, side, endpoint, bucket)))
    found.milliseconds = round((time.monotonic() - started) * 1000)
    return found


class _SideProbe(CheckedSide):
    """A side that is reached and listed once."""

    def __init__(
        self, parameters: S3Parameters, client: S3Client, side: str, found: ProbeAnswer
    ) -> None:
        prefix = parameters.src_prefix
        super().__init__(
            parameters, client, prefix if side == "source" else key_map(parameters).to_dest(prefix)
        )
        self.side = side
        self.found = found

    async def run(self) -> None:
        found = self.found
        try:
            await self.check_region()
            await self.probe()
        except TransferError as error:
            found.tell(*_of(self.trouble(error)))
        found.endpoint, found.region = self.client.endpoint.url, self.region

    async def probe(self) -> None:
        try:
            page = await self.first_page(self.prefix, LISTED if self.side == "source" else 1)
        except ObjectRefused as error:
            if error.status != 403:
                raise
            await self._tell_refusal(error)
        else:
            self._tell_page(page)

    def _tell_page(self, page: ListPage) -> None:
        found = self.found
        found.ok, found.more = True, bool(page.token)
        found.sample = [
            {
                "key": _text(entry.key),
                "size": entry.size,
                "modified": f"{entry.modified}Z" * bool(entry.modified),
            }
            for entry in page.entries
        ]
        where = f"s3://{self.client.bucket}/{self.prefix}"
        if page.entries or self.side == "destination":
            found.tell(f"{where!r} can be listed")
        else:
            found.tell(
                f"{where!r} can be listed, but there is nothing", "see that srcPrefix is right"
            )

    async def _tell_refusal(self, error: ObjectRefused) -> None:
        """Listing is not allowed, although the store accepts the credentials or needs none."""
        found, bucket, parameters = self.found, self.client.bucket, self.parameters
        if await self.client.credentials.keys() is None:
            message = f"the bucket {bucket!r} lets nobody list it without a signature"
            found.tell(message, "name a secret in srcCredentials", str(error))
            return
        by_policy = parameters.src_skip_compare or parameters.compare_policy is Policy.ALWAYS
        if self.side == "destination" and by_policy:
            found.ok = True
            message = (
                f"the bucket {bucket!r} may not be listed, which nothing needs while nothing is "
                "compared"
            )
            found.tell(message, detail=str(error))
            return
        statement = policies.on_listing(self.client.endpoint, bucket, self.prefix)
        advice = f"allow {', '.join(statement['Action'])} on {statement['Resource']}"
        found.tell(f"the credentials may not list the bucket {bucket!r}", advice, str(error))


def _of(trouble: SideTrouble) -> tuple[str, str, str]:
    return trouble.meaning, trouble.todo, trouble.error


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def _text(key: str) -> str:
    """A key in a form that JSON can contain: bytes that are not UTF-8 become U+FFFD."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
