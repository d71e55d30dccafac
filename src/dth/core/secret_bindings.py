"""Hosts, as secrets are bound to them.

Hosts are compared in one form: lower case, IDNs in ASCII, addresses in their usual notation, no dot
at the end, and the port if it is not the default of the scheme. A binding is a host in this form,
`*.` and a domain for all hosts below it, or `*` for any host.

AWS has many endpoints. The services that take credentials form one family per partition, named
`*.amazonaws.com` and so on. Any other name below such a domain may belong to anybody's machine or
function, so it is covered only by its own full name. The names of Docker Hub count as one.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from dth.core.errors import UsageError

ANY = "*"
BELOW = "*."
PORTS = {"http": 80, "https": 443}
# The default port of proxies in libcurl.
PROXY_PORT = 1080
MOST = 50  # hosts of one secret
LONGEST = 260  # characters of a host and its port
DOCKER_HUB = "docker.io"
DOCKER_HUB_NAMES = (
    "index.docker.io",
    "registry-1.docker.io",
    "auth.docker.io",
    "registry.hub.docker.com",
)
# The domains of the partitions of AWS, and the domain that names the family of each.
AWS_DOMAINS = {
    "amazonaws.com": "amazonaws.com",
    "api.aws": "amazonaws.com",
    "on.aws": "amazonaws.com",
    "amazonaws.com.cn": "amazonaws.com.cn",
    "api.amazonwebservices.com.cn": "amazonaws.com.cn",
    "on.amazonwebservices.com.cn": "amazonaws.com.cn",
    "amazonaws.eu": "amazonaws.eu",
    "c2s.ic.gov": "c2s.ic.gov",
    "sc2s.sgov.gov": "sc2s.sgov.gov",
    "cloud.adc-e.uk": "cloud.adc-e.uk",
    "csp.hci.ic.gov": "csp.hci.ic.gov",
}
# The domains of regions, by the region's name without its last two parts.
AWS_SUFFIXES = {
    "cn": "amazonaws.com.cn",
    "eusc-de": "amazonaws.eu",
    "us-iso": "c2s.ic.gov",
    "us-isob": "sc2s.sgov.gov",
    "eu-isoe": "cloud.adc-e.uk",
    "us-isof": "csp.hci.ic.gov",
}
_REGION = r"[a-z]{2,4}(-[a-z]+)+-\d"
# The part before the domain for services that take credentials: S3, ECR with its registries, STS.
_AWS_SERVICE = re.compile(
    rf"""
    ((bucket\.|accesspoint\.)?vpce-[0-9a-z-]+\.)?s3(-accesspoint|-accelerate|-external-1)?(-fips)?(\.dualstack)?
        ([.-]{_REGION})?(\.vpce)?
    | (vpce-[0-9a-z-]+\.)?(api\.ecr|ecr|ecr-fips|api\.ecr-fips)\.{_REGION}(\.vpce)?
    | \d{{12}}\.dkr[.-]ecr(-fips)?\.{_REGION}
    | (vpce-[0-9a-z-]+\.)?sts(-fips)?(\.{_REGION})?(\.vpce)?
    """,
    re.VERBOSE,
)
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def ascii_host(host: str) -> str:
    """A host name in ASCII and lower case. Raises UsageError for a name without one unique ASCII
    form: programs convert it differently, so they might connect to another host than intended."""
    lower = host.lower()
    if lower.isascii():
        return lower
    try:
        found = lower.encode("idna").decode("ascii")
        same = found.encode("ascii").decode("idna") == lower
    except UnicodeError:
        found, same = "", False
    if not same:
        raise UsageError(
            f"the host {host!r} can be read in several ways; write it in ASCII (xn--...)"
        )
    return found


def host_of(url: str, usual: int = 0) -> str:
    """The host of a URL or of `host:port`, in the form used for comparison. `usual`: the port that
    is left out; 0: the default of the scheme, which is https if there is none. Raises UsageError if
    the text names no host."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise UsageError(f"{url!r} names no host")
    name = _form(host)
    return name if port in (None, usual or PORTS.get(parts.scheme, 0)) else f"{name}:{port}"


def hosts_of(urls: Iterable[str], proxy: str = "") -> tuple[str, ...]:
    """All hosts that can read what is sent to these URLs. They include a proxy if something is not
    encrypted."""
    found = [(url, host_of(url)) for url in urls]
    hosts = [host for _, host in found]
    if proxy and any(url.startswith("http://") for url, _ in found):
        hosts.append(host_of(proxy if "://" in proxy else f"http://{proxy}", PROXY_PORT))
    return tuple(dict.fromkeys(hosts))


def _form(host: str) -> str:
    name = ascii_host(host.strip("[]")).removesuffix(".")
    try:
        # Covers all notations of an IPv4 address: 127.1, 2130706433, 0x7f000001.
        if not re.search(r"\s", name):
            return socket.inet_ntoa(socket.inet_aton(name))
    except (OSError, ValueError):
        pass
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return DOCKER_HUB if name in DOCKER_HUB_NAMES else name
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped) if mapped else f"[{address}]" if address.version == 6 else str(address)


def aws_domain(region: str) -> str:
    """The domain of the services of a region."""
    family = region.rpartition("-")[0].rpartition("-")[0]
    return AWS_SUFFIXES.get(family, "amazonaws.com")


def aws_family(host: str) -> str:
    """The domain of the partition to whose services this host belongs; "" for any other host."""
    for domain, family in AWS_DOMAINS.items():
        if host.endswith(f".{domain}") and _AWS_SERVICE.fullmatch(host.removesuffix(f".{domain}")):
            return family
    return ""


def read_bindings(given: Sequence[str]) -> tuple[str, ...]:
    """The bindings that a user wrote, in the form in which they are stored. Raises UsageError."""
    if len(given) > MOST:
        raise UsageError(f"hosts: {MOST} are the most")
    return tuple(dict.fromkeys(_binding(each.strip()) for each in given))


def _binding(text: str) -> str:
    if text == ANY:
        return ANY
    wrong = UsageError(
        f"hosts: {text[:LONGEST]!r} is not a host; write store.example.com, "
        "store.example.com:9000, *.example.com for all hosts below it, or * for any host"
    )
    below = text.startswith(BELOW)
    name = text.removeprefix(BELOW)
    if not name or len(text) > LONGEST or re.search(r"[/@?#\\%*,\s\x00-\x1f\x7f]", name):
        raise wrong
    # The default ports of both schemes are left out.
    found = re.sub(r":(80|443)$", "", host_of(name))
    bare = re.sub(r":\d+$", "", found)
    if not bare.startswith("[") and not _NAME.fullmatch(bare):
        raise wrong
    if not below:
        return found
    if "." not in bare or bare.startswith("[") or _is_address(bare):
        raise UsageError(
            f"hosts: {text!r} would stand for hosts of anybody; name a domain, as in *.example.com"
        )
    return f"{BELOW}{found}"


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def covers(bindings: Iterable[str], host: str) -> bool:
    """Whether a secret with these bindings may be sent to this host (in the form of `host_of`)."""
    name, _, port = host.partition(":") if not host.startswith("[") else (host, "", "")
    ours = next((domain for domain in AWS_DOMAINS if f".{name}".endswith(f".{domain}")), "")
    family = aws_family(host)
    for binding in bindings:
        if binding in (ANY, host):
            return True
        if not binding.startswith(BELOW):
            continue
        domain, _, wanted = binding.removeprefix(BELOW).partition(":")
        if family:
            if not wanted and (domain == family or name.endswith(f".{domain}")):
                return True
            continue
        # Anybody can have a name below a domain of AWS.
        if not ours and name.endswith(f".{domain}") and port == wanted:
            return True
    return False


def first_bindings(hosts: Iterable[str]) -> tuple[str, ...]:
    """The bindings of a secret that is first used with these hosts: the hosts, or the services of
    their partition."""
    families = ((host, aws_family(host)) for host in hosts)
    return tuple(dict.fromkeys(f"{BELOW}{family}" if family else host for host, family in families))
