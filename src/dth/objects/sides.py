"""Where one side of a task is and how it is reached: from its parameters first, then from the
environment, then from the AWS configuration's profile that it uses."""

from dataclasses import dataclass

from dth.core import confinement
from dth.core.errors import UsageError
from dth.core.parameters import OPTION, START
from dth.core.secret_bindings import hosts_of
from dth.core.transport import ConnectOptions
from dth.objects.parameters import Links, S3Parameters
from dth.objects.store.aws_config import UNSET, AwsConfig, Setting, read_config
from dth.objects.store.credentials import CredentialSource, described
from dth.objects.store.endpoints import (
    PROFILES,
    Addressing,
    Endpoint,
    check_proxy,
    folder_endpoint,
    resolve_endpoint,
)
from dth.objects.store.folders.paths import is_folder


@dataclass(frozen=True, slots=True)
class SideSettings:
    """The endpoint of a side, how the side authenticates, and where each setting came from."""

    endpoint: Endpoint
    credentials: CredentialSource
    url: Setting
    region: Setting
    addressing: Setting
    ca_bundle: Setting

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts that can read what is sent to this side, in the form that secrets are bound
        to."""
        if self.endpoint.is_folder:
            return ()
        return hosts_of(self.endpoint.urls, self.endpoint.connect.proxy)

    def lines(self) -> list[str]:
        """What a user needs to know if the wrong place is used. Never contains a secret."""
        endpoint = self.endpoint
        if endpoint.is_folder:
            return ["a folder of this machine"]
        url = self.url.origin or (f"of {endpoint.profile.name}" if endpoint.url else "")
        style = (
            self.addressing.origin or f"as {endpoint.profile.name} and the bucket's name have it"
        )
        ca_bundle = self.ca_bundle
        lines = [
            f"endpoint {', '.join(endpoint.urls)} ({url}), type {endpoint.profile.name}",
            f"region {self._region()}",
            f"addressing {endpoint.addressing.value} ({style})",
        ]
        if endpoint.url.startswith("https:"):
            own = f"{ca_bundle.value} ({ca_bundle.origin})"
            lines.append(f"CA {own if ca_bundle.value else 'of the system'}")
        if endpoint.connect.proxy:
            lines.append(f"proxy {endpoint.connect.proxy}")
        return [*lines, f"credentials: {described(self.credentials)}"]

    def _region(self) -> str:
        endpoint, said = self.endpoint, self.region
        if endpoint.is_aws and not self.url.value and not said.origin.startswith("--"):
            return f"of the bucket, asked for at {endpoint.region}"
        if endpoint.region == said.value:
            return f"{said.value} ({said.origin})"
        own = endpoint.is_aws or endpoint.profile.region or endpoint.profile.endpoint
        return f"{endpoint.region} ({'of the endpoint' if own else 'by default'})"


def side_settings(parameters: S3Parameters, side: str) -> SideSettings:
    """The settings of "source" or "destination", without network requests. Raises UsageError for
    invalid ones."""
    start, is_source = START[side], side == "source"

    def given(name: str) -> str:
        return str(getattr(parameters, f"{start}_{name}") or "")

    def option(name: str, flag: str) -> Setting:
        return Setting(given(name), f"{OPTION[side]}-{flag}") if given(name) else UNSET

    if is_folder(given("bucket")):
        return _folder_settings(parameters, side)
    try:
        proxy = check_proxy(given("proxy")) if given("proxy") else ""
    except UsageError as error:
        raise UsageError(f"{side}: {error}") from None
    region, ca_bundle = option("region", "region"), option("ca_bundle", "ca-bundle")
    url, asked_style = (
        option("endpoint", "endpoint-url"),
        option("addressing_style", "addressing-style"),
    )
    try:
        # A side with a secret does not use a profile that it does not name.
        profile = confinement.aws_profile(given("profile"))
        implied = not given("credentials") and confinement.default_profile()
        config = read_config(profile, profiles=bool(profile or implied))
        if not url.value:
            url = _configured_url(config, given("type"), names_profile=bool(given("profile")))
        style = config.addressing_style if asked_style.value == Addressing.AUTO else asked_style
        if ca_bundle.value:
            ca_bundle = Setting(confinement.ca_file(ca_bundle.value), ca_bundle.origin)
        else:
            ca_bundle = config.ca_bundle
        endpoint = resolve_endpoint(
            url=url.value,
            region=region.value,
            fallback_region=config.region.value,
            kind=given("type"),
            bucket=given("bucket"),
            addressing=Addressing(style.value or Addressing.AUTO),
            checksum=None if is_source else parameters.checksum_mode,
            connect=ConnectOptions(ca_bundle.value, proxy),
            requester_pays=is_source and parameters.is_payer_request,
        )
    except UsageError as error:
        said_by = "" if not url.origin or url.origin.startswith("--") else f"{url.origin}: "
        raise UsageError(f"{side}: {said_by}{error}") from None
    return SideSettings(
        endpoint=endpoint,
        credentials=CredentialSource(
            anonymous=is_source and parameters.src_anonymous,
            secret=given("credentials"),
            profile=given("profile"),
            role_arn=given("role_arn"),
            external_id=given("external_id"),
            region=region.value or config.region.value,
        ),
        url=url,
        region=region if region.value else config.region,
        addressing=style if style.value and style.value != Addressing.AUTO else UNSET,
        ca_bundle=ca_bundle,
    )


# What only a store has.
_OF_STORES = {
    "endpoint": "endpoint-url",
    "type": "type",
    "region": "region",
    "credentials": "secret",
    "profile": "profile",
    "role_arn": "role-arn",
    "proxy": "proxy",
    "sse_customer_key": "sse-c-secret",
}


def _folder_settings(parameters: S3Parameters, side: str) -> SideSettings:
    for name, flag in _OF_STORES.items():
        if getattr(parameters, f"{START[side]}_{name}"):
            raise UsageError(f"{side}: a folder takes no {OPTION[side]}-{flag}; leave it out")
    if parameters.links is Links.FOLLOW and not confinement.local_files():
        raise UsageError(
            f"{side}: a hub follows no symbolic links, because they may lead anywhere on its "
            "machine; leave out links"
        )
    endpoint = folder_endpoint(follows_links=parameters.links is Links.FOLLOW)
    return SideSettings(endpoint, CredentialSource(anonymous=True), UNSET, UNSET, UNSET, UNSET)


def _configured_url(config: AwsConfig, kind: str, *, names_profile: bool) -> Setting:
    """The endpoint URL from the configuration. If the requested kind of store has its own endpoint,
    only an explicitly requested profile may set a different one."""
    if kind in PROFILES and PROFILES[kind].endpoint:
        return config.own_url if names_profile else UNSET
    return config.url
