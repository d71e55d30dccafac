"""What it means that a server gave no answer, in plain words.

libcurl, OpenSSL and Python each have words of their own for it, which say what a program met, not
what is wrong.
"""

from urllib.parse import urlsplit

from dth.core.transport import NO_TLS

# By what is heard, in lower case; the first one counts.
_MEANINGS = {
    "could not resolve proxy": "the proxy's host name cannot be resolved",
    **dict.fromkeys(
        (
            "could not resolve",
            "name or service not known",
            "no address associated",
            "name resolution",
        ),
        "the host name of {host} cannot be resolved",
    ),
    "over proxy": "the proxy takes no connection, or none to {host}",
    **dict.fromkeys((*NO_TLS, "wrong_version_number"), "the server at {host} does not speak TLS"),
    "trust anchors": "the file of authorities{named} cannot be read",
    **dict.fromkeys(
        ("subject name", "hostname mismatch", "ip address mismatch"),
        "the TLS certificate of {host} is one of another host",
    ),
    "has expired": "the TLS certificate of {host} has expired",
    "not yet valid": "the TLS certificate of {host} is not valid yet",
    "certificate": "the TLS certificate of {host} is not trusted",
    "ssl": "the TLS handshake with {host} failed",
    "tls": "the TLS handshake with {host} failed",
    **dict.fromkeys(
        ("could not connect", "couldn't connect", "connection refused"),
        "no server takes connections at {host}",
    ),
    **dict.fromkeys(
        ("timed out", "timeout", "no answer", "too slow"),
        "the server at {host} does not answer in time",
    ),
    **dict.fromkeys(
        ("reset by peer", "empty reply", "broke off", "remote end closed"),
        "the server at {host} closes the connection",
    ),
}
_OF_TLS = ("certificate", "ssl", "tls", "trust anchors")


def meaning(text: str, host: str, *, authorities: str = "") -> str:
    """What an error says about the server at `host` (a name, with a port, or a URL); "" if its
    words are not known. `authorities`: what names the file of certificate authorities."""
    named = f" in {authorities}" if authorities else ""
    name = urlsplit(host if "://" in host else f"//{host}").hostname or ""
    # A name such as tls.example.com may contain the words.
    said = text.lower().replace(name, " ") if name else text.lower()
    found = next((means for heard, means in _MEANINGS.items() if heard in said), "")
    return found.format(host=host, named=named)


def is_of_tls(text: str) -> bool:
    """Whether the connection came about, but not its encryption."""
    said = text.lower()
    return any(heard in said for heard in (*_OF_TLS, *NO_TLS))


def lacks_tls(text: str) -> bool:
    """Whether the server answered without TLS."""
    said = text.lower()
    return any(heard in said for heard in (*NO_TLS, "wrong_version_number"))


def certificate_remedy(text: str, *, authorities: str, address: str) -> str:
    """What to do about a certificate. `authorities`: what names the file of authorities;
    `address`: what names the server."""
    said = meaning(text, "")
    if "another host" in said:
        return f"correct the host in {address}, or give the server a certificate for this host"
    if "has expired" in said or "valid yet" in said:
        return "renew the certificate of the server, or correct the clock of this machine"
    return f"give the server's authority in {authorities}, or correct the host in {address}"
