"""Opens a task: from its parameters to the registries of both sides, ready for requests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dth.core import confinement
from dth.core.errors import TransferError, UsageError
from dth.core.parameters import check_confined
from dth.core.secret_bindings import aws_domain, aws_family, host_of
from dth.core.secrets import SecretStore, SecretUse, for_hosts
from dth.core.transport import Transport
from dth.images.destination import Destination, EcrDestination, OciDestination
from dth.images.items import EarlierCopy
from dth.images.listing import EcrSource, OciSource, Selection, Source
from dth.images.parameters import DestType, EcrParameters, SourceType, missing
from dth.images.patterns import Patterns
from dth.images.plan import Wishes
from dth.images.registry.address import RegistryAddress
from dth.images.registry.aws import AwsAccess
from dth.images.registry.client import Registry
from dth.images.registry.control import EcrControl, EcrLogin
from dth.images.registry.login import ANONYMOUS, Login, SecretLogin, UserPassword
from dth.images.registry.reference import DOCKER_HUB, Reference
from dth.images.registry.saved_logins import KeptLogin
from dth.images.renames import Renames
from dth.images.skopeo import command as skopeo


@dataclass(slots=True)
class Front:
    """A registry, its login, and its control plane if it is Amazon ECR."""

    registry: Registry
    login: Login
    control: EcrControl | None = None

    def source(self) -> Source:
        """Return it as a new source, with nothing listed yet."""
        return EcrSource(self.control, self.registry) if self.control else OciSource(self.registry)

    def destination(self) -> Destination:
        """What is read and created at the destination: of Amazon ECR, or of any other registry."""
        return (
            EcrDestination(self.control, self.registry)
            if self.control
            else OciDestination(self.registry)
        )

    @property
    def requests(self) -> int:
        """The requests so far, to the registry and its control plane."""
        return self.registry.calls.total() + (self.control.calls.total() if self.control else 0)

    async def side(
        self, reference: Reference, refused: UserPassword | None = None
    ) -> skopeo.CopyEnd:
        """Return it for skopeo. Renews a login that is about to expire, or was refused if there is
        a newer one.
        """
        return skopeo.CopyEnd(
            reference, self.registry.address, await self.login.get(refused, reference.repository)
        )


@dataclass(slots=True)
class ImageSource:
    """The source: one registry, or (`front` is None) public registries, each named in its
    reference.
    """

    parameters: EcrParameters
    transport: Transport
    front: Front | None = None
    _public: dict[str, Front] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The registry that is listed if nothing is named."""
        return self.front.registry.host if self.front else DOCKER_HUB

    @property
    def selection(self) -> Selection:
        """Which images the task copies. Raises UsageError for names that are wrong."""
        return Selection.of(self.parameters, self.host)

    @property
    def fronts(self) -> list[Front]:
        """The registries that were needed so far."""
        return [self.front] if self.front else list(self._public.values())

    def at(self, host: str) -> Front:
        """Return the registry of an image."""
        if self.front:
            return self.front
        if host not in self._public:
            self._public[host] = Front(Registry(self.transport, RegistryAddress(host)), ANONYMOUS)
        return self._public[host]

    def sources(self) -> Callable[[str], Source]:
        """Return the sources by host, each listed at most once: for one plan."""
        found: dict[str, Source] = {}

        def source_of(host: str) -> Source:
            if host not in found:
                found[host] = self.at(host).source()
            return found[host]

        return source_of

    def meets(self, host: str) -> bool:
        """Whether images come from this registry."""
        if self.front:
            return self.front.registry.host == host
        return any(each.reference.registry == host for each in self.selection.wanted or ())


@dataclass(slots=True)
class ImageRoute:
    """Both sides of a task."""

    parameters: EcrParameters
    origin: ImageSource
    dest: Front

    def wishes(self, known: dict[str, EarlierCopy]) -> Wishes:
        """Return how to plan. Does not look inside images of Docker Hub: that would count as
        pulls."""
        parameters = self.parameters
        return Wishes(
            Renames(parameters.rename_rules, parameters.dest_prefix),
            parameters.include_referrers,
            parameters.platforms,
            Patterns(parameters.immutable_tags),
            known,
            parameters.repair,
            not self.origin.meets(DOCKER_HUB),
        )

    @property
    def requests(self) -> int:
        """The requests so far, to registries and control planes."""
        return sum(front.requests for front in (*self.origin.fronts, self.dest))


async def open_route(
    parameters: EcrParameters, transport: Transport, secrets: SecretStore
) -> ImageRoute:
    """Open both sides. Requests only the hosts of Amazon ECR registries, from ECR.

    Raises UsageError for invalid parameters, TransferError if ECR refuses the sign-in.
    """
    for group in ("source", "destination"):
        for name in missing(parameters, group):
            raise UsageError(f"{name}: it has to be given")
    origin = ImageSource(parameters, transport)
    if parameters.source_type is not SourceType.PUBLIC:
        origin.front = await open_front(parameters, "source", transport, secrets)
    return ImageRoute(
        parameters, origin, await open_front(parameters, "destination", transport, secrets)
    )


async def open_front(
    parameters: EcrParameters, side: str, transport: Transport, secrets: SecretStore
) -> Front:
    """Open one side, "source" or "destination"; not for public images, which name their
    registries."""
    check_confined(parameters)
    given = _side(parameters, side)
    secrets = for_hosts(secrets, given.hosts)
    pushes = side == "destination"
    if given.is_ecr:
        _refuse_other_host(given)
        control = EcrControl(given.access, secrets, account=given.account)
        login = EcrLogin(control)
        try:
            host = given.host or await login.host()
        except TransferError as error:
            error.side = side
            raise
        registry = Registry(transport, replace(given.address, host=host), login, pushes=pushes)
        return Front(registry, login, control)
    chosen = SecretLogin(given.secret, secrets) if given.secret else KeptLogin(given.host)
    return Front(
        Registry(transport, replace(given.address, host=given.host), chosen, pushes=pushes), chosen
    )


def secret_uses(
    parameters: EcrParameters, sides: Sequence[str] = ("source", "destination")
) -> list[SecretUse]:
    """Return the task's secrets with the hosts that receive them.

    The host that a registry names for tokens counts as part of it.
    """
    found = []
    for side in sides:
        if side == "source" and parameters.source_type is SourceType.PUBLIC:
            continue
        given = _side(parameters, side)
        if given.secret:
            found.append(SecretUse(side, given.secret, given.hosts))
    return found


def _refuse_other_host(given: "_Side") -> None:
    """Refuse to send ECR's password to another host.

    A hub's users must not have the hub's ECR password sent to a host of their own.
    """
    from_aws = aws_family(_api_host(given.access))
    if (
        given.host
        and from_aws
        and not confinement.local_files()
        and not aws_family(host_of(given.host))
    ):
        raise UsageError(
            f"{given.host!r} is not a registry of Amazon ECR, whose password would be sent there"
        )


@dataclass(frozen=True, slots=True)
class _Side:
    is_ecr: bool
    host: str
    account: str
    secret: str
    address: RegistryAddress
    access: AwsAccess

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts that receive this side's credentials, as secrets are bound to them.

        For ECR, the control plane, and the registry if it is named.
        """
        registry = (host_of(self.host),) if self.host else ()
        return (_api_host(self.access), *registry) if self.is_ecr else registry


def _api_host(access: AwsAccess) -> str:
    """Return the host of the control plane.

    Without a region it is that of the environment, in the same partition as the registry.
    """
    if access.endpoint:
        return host_of(access.endpoint)
    return f"api.ecr.{access.region or 'us-east-1'}.{aws_domain(access.region)}"


def _side(parameters: EcrParameters, side: str) -> _Side:
    source = side == "source"
    is_ecr = (
        parameters.source_type is SourceType.AMAZON_ECR
        if source
        else parameters.dest_type is DestType.AMAZON_ECR
    )
    start = "src" if source else "dest"

    def value(name: str) -> str:
        found: str = getattr(parameters, f"{start}_{name}")
        return found

    ca_bundle = confinement.ca_file(value("ca_bundle"))
    host = value("registry_host") if is_ecr else value("registry") or DOCKER_HUB
    access = AwsAccess(
        value("region"),
        value("endpoint"),
        value("credential"),
        profile=value("profile"),
        role_arn=value("role_arn"),
        external_id=value("external_id"),
        ca_bundle=ca_bundle,
    )
    return _Side(
        is_ecr,
        host,
        value("account_id"),
        value("credential"),
        RegistryAddress("", bool(value("plain_http")), ca_bundle),
        access,
    )
