"""Checks what a task needs before it starts: on both sides, with the rights that it will have.

Writes nothing: an upload is begun and cancelled.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from dth.core.checks import Check, CheckState, report, worst
from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    HubError,
    ListingFailed,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
    Unreachable,
    UsageError,
)
from dth.core.secrets import SecretStore, warn_of_unbound
from dth.core.transport import Transport
from dth.images import policies
from dth.images.listing import Image, Source
from dth.images.parameters import DestType, EcrParameters, SourceList, SourceType
from dth.images.renames import Renames
from dth.images.skopeo import command as skopeo
from dth.images.task import Front, ImageSource, open_front, secret_uses

TRIED = 20  # named images to look up
START = {"source": "src", "destination": "dest"}  # Prefixes of the parameters of each side.


@dataclass(slots=True)
class ImagePreflight:
    """The results of a preflight."""

    checks: list[Check] = field(default_factory=list)
    requests: int = 0  # requests made

    @property
    def state(self) -> CheckState:
        """The worst state of all checks."""
        return worst(self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the report with the IAM policies that each side lacks."""
        lacking = {
            side: [
                c.statement
                for c in self.checks
                if c.side == side and c.statement and c.state is not CheckState.OK
            ]
            for side in START
        }
        needed = {side: policies.policy(statements) for side, statements in lacking.items()}
        return report(self.checks, needed, self.requests)


async def preflight(
    parameters: EcrParameters, transport: Transport, secrets: SecretStore
) -> ImagePreflight:
    """Run all checks. Raises no errors for what it finds: they are in the report."""
    checks = _Checks(parameters, transport, secrets)
    await checks.run()
    return checks.report


class _Checks:
    def __init__(
        self, parameters: EcrParameters, transport: Transport, secrets: SecretStore
    ) -> None:
        self._parameters = parameters
        self._transport = transport
        self._secrets = secrets
        self._fronts: list[Front] = []
        self.report = ImagePreflight()

    async def run(self) -> None:
        source, dest = await asyncio.gather(self._source(), self._open("destination"))
        if dest:
            await self._dest(dest, source)
        await self._skopeo()
        uses = secret_uses(self._parameters)
        self.report.checks += await asyncio.to_thread(warn_of_unbound, uses, self._secrets)
        self.report.requests = sum(front.requests for front in self._fronts)

    # ---------------------------------------------------------------------------------------- sides

    async def _open(self, side: str) -> Front | None:
        """Connect to a side and sign in."""
        try:
            front = await open_front(self._parameters, side, self._transport, self._secrets)
            self._fronts.append(front)
            await front.registry.ping()
        except (TransferError, UsageError) as error:
            self._tell_trouble(side, error)
            return None
        who = "signed in" if await front.login.get() else "nobody signs in"
        self._tell(side, "registry", CheckState.OK, f"{front.registry.host} answers ({who})")
        return front

    async def _source(self) -> list[Image]:
        """Return some of the images that the task will find."""
        origin = ImageSource(self._parameters, self._transport)
        if self._parameters.source_type is not SourceType.PUBLIC:
            origin.front = await self._open("source")
            if origin.front is None:
                return []
        try:
            if self._parameters.src_list is SourceList.ALL:
                return await self._all(origin)
            return await self._named(origin)
        finally:
            if not origin.front:
                self._fronts += origin.fronts

    async def _all(self, origin: ImageSource) -> list[Image]:
        source = origin.sources()(origin.host)
        try:
            names = await source.repositories()
            chosen = [name for name in names if origin.selection.repositories.takes(name)]
            images = await source.images(chosen[0]) if chosen else []
        except (ListingFailed, TransferError) as error:
            statement = policies.on_repositories(self._parameters, "source", *policies.LIST)
            self._tell_failure(
                "source", "listing", error, "allow the listing, or name the images", statement
            )
            return []
        if not chosen:
            what = "no repositories" if not names else "no repository that the task's patterns take"
            self._tell(
                "source",
                "listing",
                CheckState.WARNING,
                f"{origin.host} has {what}",
                "see that the patterns are right",
            )
            return []
        self._tell(
            "source",
            "listing",
            CheckState.OK,
            f"{len(chosen)} of {len(names)} repositories take part",
        )
        some = [each for each in images or [] if each.tag or each.digest][:1]
        await self._pull(source, some)
        return [*some, *(Image(origin.host, name) for name in chosen[1:TRIED])]

    async def _named(self, origin: ImageSource) -> list[Image]:
        source_of = origin.sources()
        wanted = (origin.selection.wanted or ())[:TRIED]
        found: list[Image] = []
        for each in wanted:
            reference = each.reference
            source = source_of(reference.registry)
            try:
                if each.all_tags:
                    there: Any = await source.images(reference.repository)
                else:
                    there = await source.registry.head(reference.repository, reference.pointer)
            except (ListingFailed, TransferError) as error:
                statement = policies.on_repositories(
                    self._parameters, "source", *policies.LIST, *policies.PULL
                )
                self._tell_failure(
                    "source", str(reference), error, "allow it, or correct srcImageList", statement
                )
                continue
            if not there:
                self._tell(
                    "source",
                    str(reference),
                    CheckState.FAILED,
                    "it is not there",
                    "correct srcImageList",
                )
                continue
            found.append(
                Image(reference.registry, reference.repository, reference.tag, reference.digest)
            )
        if found:
            self._tell(
                "source",
                "images",
                CheckState.OK,
                f"{len(found)} of {len(wanted)} names looked up are there",
            )
        return found

    async def _pull(self, source: Source, images: list[Image]) -> None:
        for image in images:
            try:
                await source.registry.manifest(image.repository, image.tag or image.digest)
            except TransferError as error:
                statement = policies.on_repositories(self._parameters, "source", *policies.PULL)
                self._tell_failure("source", "pull", error, "allow pulling", statement)
            else:
                self._tell(
                    "source",
                    "pull",
                    CheckState.OK,
                    f"the manifest of {image.reference} can be read",
                )

    async def _dest(self, dest: Front, images: list[Image]) -> None:
        """Check whether repositories exist or can be created, and whether images can be pushed to
        them.
        """
        renames = Renames(self._parameters.rename_rules, self._parameters.dest_prefix)
        names: list[str] = []
        for image in images:
            try:
                names.append(renames.dest(image.reference, dest.registry.host).repository)
            except UsageError as error:
                self._tell(
                    "destination", "names", CheckState.FAILED, str(error), "correct renameRules"
                )
        names = sorted(set(names))
        there = names
        if dest.control:
            try:
                there = sorted(await dest.control.repositories(names)) if names else []
            except TransferError as error:
                statement = policies.on_repositories(
                    self._parameters, "destination", *policies.LIST
                )
                self._tell_failure(
                    "destination", "repositories", error, "allow the listing", statement
                )
                return
            if missing := len(names) - len(there):
                self._tell(
                    "destination",
                    "repositories",
                    CheckState.UNKNOWN,
                    (
                        f"{missing} of {len(names)} repositories will be made; whether we may is "
                        "only known then"
                    ),
                    f"see that {' and '.join(policies.CREATE)} are allowed",
                )
            elif names:
                self._tell(
                    "destination",
                    "repositories",
                    CheckState.OK,
                    f"all {len(names)} looked up are there",
                )
        if there:
            await self._push(dest, there[0])

    async def _push(self, dest: Front, repository: str) -> None:
        try:
            await dest.registry.try_push(repository)
        except TransferError as error:
            statement = policies.on_repositories(self._parameters, "destination", *policies.PUSH)
            self._tell_failure("destination", "push", error, "allow pushing", statement)
        else:
            self._tell(
                "destination",
                "push",
                CheckState.OK,
                f"we may push to {dest.registry.host}/{repository}",
            )

    async def _skopeo(self) -> None:
        try:
            version = await skopeo.version()
        except UsageError as error:
            self._tell(
                "destination",
                "skopeo",
                CheckState.UNKNOWN,
                str(error),
                "install skopeo on the hub's machine",
            )
            return
        self._tell(
            "destination", "skopeo", CheckState.OK, f"skopeo {'.'.join(map(str, version))} is here"
        )
        if why := skopeo.obstacle(*(front.registry.host for front in self._fronts)):
            found = f"images that the destination does not take as they are will fail: {why}"
            self._tell(
                "destination",
                "conversion",
                CheckState.WARNING,
                found,
                "see that it takes the images",
            )

    # -------------------------------------------------------------------------------------- telling

    def _tell(
        self,
        side: str,
        name: str,
        state: CheckState,
        found: str,
        todo: str = "",
        statement: policies.Statement | None = None,
    ) -> None:
        parameters = self._parameters
        is_ecr = {
            "source": parameters.source_type is SourceType.AMAZON_ECR,
            "destination": parameters.dest_type is DestType.AMAZON_ECR,
        }
        missing = (statement or {}) if is_ecr[side] else {}
        self.report.checks.append(Check(side, name, state, found, todo, missing))

    def _tell_failure(
        self, side: str, name: str, error: HubError, todo: str, statement: policies.Statement
    ) -> None:
        state = CheckState.UNKNOWN if isinstance(error, Throttled) else CheckState.FAILED
        denied = isinstance(error, ObjectRefused | EndpointRefused | ListingFailed)
        self._tell(
            side, name, state, str(error), todo if denied else "", statement if denied else None
        )

    def _tell_trouble(self, side: str, error: HubError) -> None:
        start = START[side]
        statement = None
        match error:
            case Unreachable(code="NoTls"):
                name, todo = (
                    "TLS",
                    f"set {start}PlainHttp if that is meant, or correct {start}Registry",
                )
            case Unreachable():
                name = "TLS"
                todo = (
                    f"give the registry's authority in {start}CaBundle, or correct {start}Registry"
                )
            case ConnectionFailed() | Transient(code="ConnectionBroken" | "TimeOut"):
                name, todo = (
                    "connection",
                    f"correct {start}Registry, {start}Region or {start}Endpoint",
                )
            case SourceGone():
                name, todo = "registry", f"see that {start}Registry is a registry of images"
            case EndpointRefused() if getattr(error, "code", "").startswith("AccessDenied"):
                name, todo, statement = "credentials", "allow signing in", policies.token()
            case _:
                name, todo = "credentials", f"correct {start}Credential"
        self.report.checks.append(
            Check(side, name, CheckState.FAILED, str(error), todo, statement or {})
        )
