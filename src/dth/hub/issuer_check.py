"""What is right and wrong with an issuer, before a hub depends on it.

The console and the command line sign in as public clients: with PKCE, without a secret. The console
runs in a browser, which may send requests only to the host of the issuer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from dth.core.checks import CheckState
from dth.core.errors import HubError
from dth.core.network import Network
from dth.hub.auth import IssuerConfig, fetch_discovery, fetch_keys, require_secure, same_issuer

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
        _endpoints(document, config.issuer),
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


def _endpoints(document: Mapping[str, Any], issuer: str) -> IssuerCheck:
    name = IssuerCheckName.ENDPOINTS
    for each in ENDPOINTS:
        try:
            require_secure(str(document.get(each) or ""))
        except HubError:
            return _failed(name, f"the discovery document names no safe address as {each}")
    host, token_host = _origin(issuer), _origin(str(document["token_endpoint"]))
    if token_host != host:
        return _failed(
            name,
            f"the token endpoint is at {token_host}; a browser with the console sends requests "
            f"only to {host}",
        )
    return _ok(name, host)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


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
