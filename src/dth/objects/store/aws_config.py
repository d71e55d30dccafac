"""What the configuration of the AWS tools says about a store: environment variables, and the
profile in use.

Names and order are those of botocore (`configprovider`, `session`): variables take precedence over
profiles. botocore's reader reads the files. Only this reader is loaded, and only if a file exists,
because loading all of botocore takes as long as a small run.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dth.core.errors import UsageError

CONFIG_FILE, CREDENTIALS_FILE = "~/.aws/config", "~/.aws/credentials"
# curl and OpenSSL know these too. The AWS variables take precedence.
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
STYLES = ("auto", "path", "virtual")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and its origin in words for people. Both are empty if nothing sets it."""

    value: str = ""
    origin: str = ""


UNSET = Setting()


@dataclass(frozen=True, slots=True)
class AwsConfig:
    """The configuration for S3. `own_url`: the endpoint URL of the profile alone."""

    url: Setting = UNSET
    own_url: Setting = UNSET
    region: Setting = UNSET
    ca_bundle: Setting = UNSET
    addressing_style: Setting = UNSET


def read_config(profile: str, *, profiles: bool = True) -> AwsConfig:
    """The settings of a side that names this profile ("" for the one in use). `profiles`: whether
    profiles count at all. A profile that does not exist sets nothing here; the credentials report
    that it is missing. Raises UsageError."""
    name = profile or in_use() or "default"
    everything = _files() if profiles else {}
    scoped: Mapping[str, Any] = everything.get("profiles", {}).get(name, {})
    origin = f"profile {name}"

    def of_profile(key: str, section: Mapping[str, Any] = scoped) -> Setting:
        value = section.get(key, "")
        return Setting(value, origin) if isinstance(value, str) and value else UNSET

    services = _services(everything, scoped, name)
    nested = scoped.get("s3", {})
    style = of_profile("addressing_style", nested if isinstance(nested, dict) else {})
    if style.value and style.value not in STYLES:
        raise UsageError(
            f"{origin}: addressing_style {style.value!r} is none of {', '.join(STYLES)}"
        )
    url, own_url = UNSET, UNSET
    if not _ignores_urls(scoped):
        own_url = _first(
            of_profile("endpoint_url", services.get("s3", {})), of_profile("endpoint_url")
        )
        url = _first(_variable("AWS_ENDPOINT_URL_S3"), _variable("AWS_ENDPOINT_URL"), own_url)
    return AwsConfig(
        url=url,
        own_url=own_url,
        region=_first(
            _variable("AWS_REGION"), _variable("AWS_DEFAULT_REGION"), of_profile("region")
        ),
        ca_bundle=_first(
            _variable("AWS_CA_BUNDLE"), of_profile("ca_bundle"), *map(_variable, CA_VARIABLES)
        ),
        addressing_style=style,
    )


def in_use() -> str:
    """The profile that the environment selects; "" for none."""
    # botocore looks in this order; AWS_DEFAULT_PROFILE is the older name.
    return os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE") or ""


def _variable(name: str) -> Setting:
    value = os.environ.get(name, "")
    return Setting(value, name) if value else UNSET


def _first(*settings: Setting) -> Setting:
    return next((each for each in settings if each.value), UNSET)


def _ignores_urls(scoped: Mapping[str, Any]) -> bool:
    value = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or scoped.get(
        "ignore_configured_endpoint_urls", ""
    )
    return str(value).strip().lower() == "true"


def _services(
    everything: Mapping[str, Any], scoped: Mapping[str, Any], name: str
) -> Mapping[str, Any]:
    """The `[services NAME]` section that the profile names: settings by service."""
    section = scoped.get("services", "")
    if not section:
        return {}
    found = everything.get("services", {}).get(section)
    if found is None:
        raise UsageError(
            f"profile {name}: there is no section [services {section}] in the AWS configuration"
        )
    return {service: values for service, values in found.items() if isinstance(values, dict)}


def _files() -> dict[str, Any]:
    """Both files combined, as botocore does it."""
    config = _existing("AWS_CONFIG_FILE", CONFIG_FILE)
    credentials = _existing("AWS_SHARED_CREDENTIALS_FILE", CREDENTIALS_FILE)
    if not config and not credentials:
        return {}
    from botocore.configloader import load_config, raw_config_parse
    from botocore.exceptions import BotoCoreError

    try:
        everything: dict[str, Any] = load_config(config) if config else {"profiles": {}}
        for name, values in (raw_config_parse(credentials) if credentials else {}).items():
            everything["profiles"].setdefault(name, {}).update(values)
    except BotoCoreError as error:
        raise UsageError(
            f"the AWS configuration cannot be read: {' '.join(str(error).split())}"
        ) from None
    return everything


def _existing(variable: str, usual: str) -> str:
    """The path of a configuration file; "" if it does not exist."""
    path = Path(os.path.expandvars(os.environ.get(variable) or usual)).expanduser()
    return str(path) if path.is_file() else ""
