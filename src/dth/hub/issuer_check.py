"""What is right and wrong with an issuer, before a hub depends on it.

The console and the command line sign in as public clients: with PKCE, without a secret. The
document comes from the issuer over TLS, so its endpoints may be on any host that the hub's settings
allow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from dth.core.checks import CheckState
from dth.core.errors import HubError
from dth.core.network import Network
from dth.hub.auth import IssuerConfig, fetch_discovery, fetch_keys, origin_of, same_issuer

ENDPOINTS = ("authorization_endpoint", "token_endpoint")
CHALLENGE = "S256"


class IssuerCheckName(StrEnum):
    """What is checked, in this order. Without a discovery document there is nothing to check after
    the first."""

    REACHABLE = "REACHABLE"
    ISSUER = "ISSUER"
    ENDPOINTS = "ENDPOINTS"
    PKCE = "PKCE"
    KEYS = "KEYS"


@dataclass(frozen=True, slots=True)
class IssuerCheck:
    """`found`: one line."""

    name: IssuerCheckName
    state: CheckState
    found: str


def check_issuer(config: IssuerConfig, network: Network | None) -> list[IssuerCheck]:
    """Fetch the issuer's discovery document and keys, and judge them. Blocks."""
    name = IssuerCheckName
    try:
        document = fetch_discovery(config.issuer, config.ca_bundle, network)
    except HubError as error:
        return [_failed(name.REACHABLE, str(error))]
    return [
        _ok(name.REACHABLE, "the discovery document is there"),
        _names_itself(document, config.issuer),
        _endpoints(document, network),
        _pkce(document),
        _keys(document, config.ca_bundle, network),
    ]


def _names_itself(document: Mapping[str, Any], issuer: str) -> IssuerCheck:
    said = document.get("issuer")
    if same_issuer(said, issuer):
        return _ok(IssuerCheckName.ISSUER, issuer)
    return _failed(
        IssuerCheckName.ISSUER,
        f"what answers there calls itself {said!r}; enter exactly this address"
        if said
        else "the discovery document does not name its issuer",
    )


def _endpoints(document: Mapping[str, Any], network: Network | None) -> IssuerCheck:
    name = IssuerCheckName.ENDPOINTS
    origins = {}
    for each in ENDPOINTS:
        try:
            origins[origin_of(str(document.get(each) or ""))] = each
        except HubError:
            return _failed(name, f"the discovery document names no safe address as {each}")
    for origin, each in origins.items():
        why = network.refusal_of_host(urlsplit(origin).hostname or "") if network else ""
        if why:
            return _failed(name, f"{each} is at {origin}: its host {why}")
    return _ok(name, ", ".join(origins))


def _pkce(document: Mapping[str, Any]) -> IssuerCheck:
    name = IssuerCheckName.PKCE
    methods = document.get("code_challenge_methods_supported")
    if methods is None:
        # Microsoft Entra ID has PKCE, and its document does not say so.
        return IssuerCheck(
            name,
            CheckState.WARNING,
            "the discovery document does not say whether the issuer has PKCE; the sign-in will "
            "show it",
        )
    if not isinstance(methods, list) or CHALLENGE not in methods:
        return _failed(
            name,
            f"the issuer does not offer PKCE with {CHALLENGE} "
            f"(code_challenge_methods_supported: {methods}); the console needs it",
        )
    return _ok(name, CHALLENGE)


def _keys(document: Mapping[str, Any], ca_bundle: str, network: Network | None) -> IssuerCheck:
    try:
        number = len(fetch_keys(document, ca_bundle, network).keys)
    except HubError as error:
        return _failed(IssuerCheckName.KEYS, str(error))
    return _ok(IssuerCheckName.KEYS, f"{number} to check signatures with")


def _ok(name: IssuerCheckName, found: str) -> IssuerCheck:
    return IssuerCheck(name, CheckState.OK, found)


def _failed(name: IssuerCheckName, found: str) -> IssuerCheck:
    return IssuerCheck(name, CheckState.FAILED, found)
