"""What is known of each kind of registry. A registry that is not in the table is `OTHER`.

A row is only where the client starts: the registry's answers take precedence.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownRegistry:
    """One kind of registry. `rate` and `most` are requests per second, 0 if unknown."""

    name: str
    # Patterns of host names; none for software that people host themselves.
    hosts: tuple[str, ...] = ()
    rate: float = 0.0  # at the start
    most: float = 0.0  # the documented limit
    # It lists its repositories to users with permission.
    catalogue: bool = True
    # A 404 to a HEAD is reliable, and a GET would cost a pull.
    heads: bool = False
    sign_in: str = "token"
    referrers: str = "unknown"
    limits: str = ""  # as documented
    odd: str = ""  # differences from the standard
    tried: bool = False  # against the real service


OTHER = KnownRegistry("Other", sign_in="as it says", limits="Learned from its answers.")

KNOWN = (
    KnownRegistry(
        "Docker Hub",
        (r"docker\.io", r"registry-1\.docker\.io"),
        rate=20,
        catalogue=False,
        heads=True,
        sign_in="token of auth.docker.io",
        referrers="API",
        limits=(
            "Pulls in a window of hours, reported in the headers `ratelimit-*`: 100 in 6 h "
            "without an account, 200 with a free one. A HEAD is not a pull. All requests: "
            "thousands per minute for each address."
        ),
        odd="No catalogue. Names without a path are `library/`.",
    ),
    KnownRegistry(
        "Quay",
        (r"quay\.io",),
        rate=10,
        sign_in="token of the host itself",
        referrers="API",
        limits=(
            "A few requests per second for each address, with bursts. 429 comes without a time "
            "to wait."
        ),
        odd=(
            "A token for pulling from a repository that is not there yet is answered 401; one "
            "for pulling and pushing makes it. Older versions answer 400 to the referrers API."
        ),
    ),
    KnownRegistry(
        "GHCR",
        (r"ghcr\.io",),
        rate=30,
        catalogue=False,
        sign_in="token of the host itself",
        referrers="tags",
        limits=(
            "44,000 requests per minute, 2,000 for pushing, by the words of its refusals. The "
            "time to wait is in the message, not in a header."
        ),
        odd="No catalogue.",
    ),
    KnownRegistry(
        "Amazon ECR",
        (r"\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.[a-z0-9.-]+",),
        sign_in="password of 12 h from its control plane",
        referrers="API",
        limits="Per account, region and action, from hundreds to thousands per second.",
        odd="Repositories have to be made first. Listed by its control plane.",
    ),
    KnownRegistry(
        "Amazon ECR Public",
        (r"public\.ecr\.aws",),
        rate=1,
        most=10,
        catalogue=False,
        sign_in="token of the host itself",
        limits=(
            "Pulls: 1 a second without an account, 10 with one; 500 GB a month without an account."
        ),
        odd="No catalogue.",
    ),
    KnownRegistry(
        "GitLab",
        (r"registry\.gitlab\.com",),
        catalogue=False,
        sign_in="token of the GitLab server (`/jwt/auth`)",
        limits="30 refused sign-ins in 3 minutes: 403 for an hour.",
        odd=(
            "The tag `sha256-HEX` is the manifest with that digest. The catalogue is for "
            "administrators."
        ),
    ),
    KnownRegistry(
        "Harbor",
        sign_in="token of the host itself",
        referrers="API since 2.8",
        limits="None of its own; its reverse proxy may have some.",
        odd=(
            "Before 2.8 the referrers API answers 401 without a challenge. The catalogue is "
            "for administrators."
        ),
    ),
    KnownRegistry(
        "Nexus",
        sign_in="user and password, or its own token",
        referrers="unknown",
        limits="None of its own.",
        odd="HEAD of a manifest may answer 404 where GET has it.",
    ),
    KnownRegistry(
        "Artifactory",
        (r"[a-z0-9-]+\.jfrog\.io",),
        sign_in="user and password, or its own token",
        referrers="API in newer versions",
        limits="None documented.",
        odd=(
            "Private repositories may be hidden from the unsigned by 403 or 404: only `/v2/` "
            "says how to sign in."
        ),
    ),
)


def known_registry(host: str) -> KnownRegistry:
    """Return the row of the registry with this host."""
    for known in KNOWN:
        if any(re.fullmatch(pattern, host) for pattern in known.hosts):
            return known
    return OTHER
