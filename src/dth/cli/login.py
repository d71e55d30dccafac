"""`dth login` and `dth logout`: sessions on hubs, and the access tokens that other commands call
with.

The sign-in happens in a browser, at the hub's issuer: code and PKCE, with an answer to this machine
(RFC 8252). What comes of it is kept in one file that only its owner can read.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import queue
import secrets
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import click

from dth.cli.iam import region_of
from dth.core.config import config_directory
from dth.core.errors import HubError, StateError, UsageError, reason_of
from dth.hub.auth import discover, fetch_json, require_secure

CLIENT = "dth-cli"
SCOPE = "openid profile email offline_access"
CALLBACK = "/callback"
PATIENCE = 300.0  # seconds for the sign-in
SPARE = 30.0  # seconds that an access token must still hold for the call that it is for
ANSWER = """<!doctype html><html lang="en"><meta charset="utf-8"><title>dth</title>
<p>{}<p>You can close this window. / 您可以关闭此窗口。</html>"""


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a sign-in left. `expires`: when the access token does."""

    client_id: str
    token_endpoint: str
    revocation_endpoint: str
    access_token: str
    refresh_token: str
    expires: float


@click.command()
@click.option(
    "--hub",
    "hub_url",
    metavar="URL",
    help="Address of the hub. [default: DTH_HUB, or the last one]",
)
@click.option(
    "--port", default=0, help="Port of this machine for the answer, where the issuer demands one."
)
def login(hub_url: str | None, port: int) -> None:
    """Sign in to a hub, in a browser."""
    hub = _normal(hub_url or os.environ.get("DTH_HUB") or last_hub() or _missing_hub())
    if region_of(hub):
        raise UsageError(
            f"{hub} needs no sign-in: calls are signed with the credentials of the AWS command line"
        )
    try:
        said = fetch_json(f"{hub}/config.json", ca_bundle=_ca_bundle()).get("oidc")
    except HubError as error:
        raise HubError(
            f"{error}; see that a hub runs there, and that its address (--hub) is right"
        ) from None
    settings: dict[str, Any] = said if isinstance(said, dict) else {}
    with _Callback(port or _port(settings)) as callback:
        found = _sign_in(settings, callback)
    with _locked() as sessions:
        sessions.pop(hub, None)  # the last one in the file is the last signed in to
        sessions[hub] = found
    click.echo(f"signed in at {hub}", err=True)


@click.command()
@click.option(
    "--hub",
    "hub_url",
    metavar="URL",
    help="Address of the hub. [default: DTH_HUB, or the last one]",
)
def logout(hub_url: str | None) -> None:
    """End the session on a hub, there and here."""
    hub = _normal(hub_url or os.environ.get("DTH_HUB") or last_hub() or _missing_hub())
    with _locked() as sessions:
        ended = sessions.pop(hub, None)
    if ended is None:
        click.echo(f"not signed in at {hub}", err=True)
        return
    if ended.revocation_endpoint and ended.refresh_token:
        # It is forgotten here in any case; a hub that is down is not informed.
        with contextlib.suppress(HubError):
            form = {"token": ended.refresh_token, "client_id": ended.client_id}
            fetch_json(ended.revocation_endpoint, form, ca_bundle=_ca_bundle())
    click.echo(f"signed out at {hub}", err=True)


def _missing_hub() -> str:
    raise UsageError("which hub? Give its address: --hub URL (or set DTH_HUB)")


def last_hub() -> str | None:
    """The hub that was signed in to last."""
    return next(reversed(_read()), None)


def session(hub_url: str) -> str | None:
    """An access token for the hub that holds for a while, renewed when needed; None: sign in first.

    Raises HubError when it cannot be renewed now, although the session continues.
    """
    hub = _normal(hub_url)
    found = _read().get(hub)
    if found is None or found.expires - SPARE > time.time():
        return found.access_token if found else None
    # A refresh token holds once: of several commands one renews it, the others take what it got.
    with _locked() as sessions:
        found = sessions.get(hub)
        if found is not None and found.expires - SPARE <= time.time():
            found = _renewed(found)
            if found is None:
                del sessions[hub]
            else:
                sessions[hub] = found
    return found.access_token if found else None


def _renewed(old: SignIn) -> SignIn | None:
    if not old.refresh_token:
        return None
    form = {
        "grant_type": "refresh_token",
        "refresh_token": old.refresh_token,
        "client_id": old.client_id,
    }
    answer = fetch_json(old.token_endpoint, form, ca_bundle=_ca_bundle())
    if answer.get("error") == "invalid_grant":
        return None
    return replace(old, **_tokens(answer, old.refresh_token))


def _tokens(answer: Mapping[str, Any], refresh_token: str = "") -> dict[str, Any]:
    """What a token endpoint gave. An issuer that does not replace the refresh token lets the old
    one hold on."""
    if not isinstance(answer.get("access_token"), str):
        said = (
            answer.get("error_description")
            or answer.get("error")
            or "no access token in its answer"
        )
        raise HubError(f"the issuer refused: {str(said)[:200]!r}; sign in again: dth login")
    return {
        "access_token": answer["access_token"],
        "refresh_token": str(answer.get("refresh_token") or refresh_token),
        "expires": time.time() + float(answer.get("expires_in") or 300),
    }


# --------------------------------------------------------------------------------------- signing in


def _port(settings: Mapping[str, Any]) -> int:
    """Of this machine, where the issuer takes but one; 0 for any."""
    port = settings.get("cliPort")
    return port if isinstance(port, int) else 0


def _sign_in(settings: Mapping[str, Any], callback: "_Callback") -> SignIn:
    ca = _ca_bundle()
    issuer = str(settings.get("authority", ""))
    client = str(settings.get("cliClientId") or CLIENT)
    endpoints = discover(issuer, ca)
    for name in ("authorization_endpoint", "token_endpoint"):
        require_secure(str(endpoints.get(name)))
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    query = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": callback.url,
        "scope": str(settings.get("scope") or SCOPE),
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        .rstrip(b"=")
        .decode(),
        "code_challenge_method": "S256",
    }
    if audience := settings.get("audience"):
        query["audience"] = str(audience)
    place = str(endpoints["authorization_endpoint"])
    url = f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(query)}"
    click.echo(f"Sign in here:\n\n  {url}\n", err=True)
    if _has_browser():
        webbrowser.open(url)
    answer = callback.wait(state)
    if answer.get("iss", endpoints["issuer"]) != endpoints["issuer"]:
        raise HubError(
            "the answer came from another issuer than the one asked; nothing was signed in"
        )
    if "code" not in answer:
        reason = answer.get("error_description") or answer.get("error") or "no reason given"
        raise HubError(f"the issuer refused the sign-in: {reason[:200]!r}")
    form = {
        "grant_type": "authorization_code",
        "code": answer["code"],
        "redirect_uri": callback.url,
        "client_id": client,
        "code_verifier": verifier,
    }
    tokens = _tokens(fetch_json(str(endpoints["token_endpoint"]), form, ca_bundle=ca))
    return SignIn(
        client_id=client,
        token_endpoint=str(endpoints["token_endpoint"]),
        revocation_endpoint=str(endpoints.get("revocation_endpoint") or ""),
        **tokens,
    )


def _has_browser() -> bool:
    """Whether a window can be opened: a browser in this terminal would be in the way of the
    command."""
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )


class _Callback:
    """Waits on this machine for the browser to come back."""

    def __init__(self, port: int) -> None:
        answers: queue.Queue[dict[str, str]] = queue.Queue()

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                fields = dict(parse_qsl(parts.query))
                good = parts.path == CALLBACK and "state" in fields
                said = "Back to the terminal. / 请回到终端。" if good else "Not found."
                body = ANSWER.format(said).encode()
                self.send_response(200 if good else 404)
                for name, value in (
                    ("content-type", "text/html; charset=utf-8"),
                    ("content-length", str(len(body))),
                    ("content-security-policy", "default-src 'none'"),
                    ("referrer-policy", "no-referrer"),
                    ("cache-control", "no-store"),
                    ("connection", "close"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                if good:
                    answers.put(fields)

            def log_message(self, format: str, *args: Any) -> None:
                """The address has the code in it."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"port {port} of this machine cannot be used: {reason_of(error)}"
            ) from None
        self._answers = answers
        self.url = f"http://127.0.0.1:{self._server.server_port}{CALLBACK}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, state: str) -> dict[str, str]:
        """The answer to the request with this state. Any page can call here: others' are passed
        over."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise HubError(
                    f"nobody signed in within {PATIENCE / 60:.0f} minutes; try again"
                ) from None
            if hmac.compare_digest(answer["state"].encode(), state.encode()):
                return answer


# ----------------------------------------------------------------------------------------- the file


def _normal(hub: str) -> str:
    """The address of a hub as the file has it."""
    require_secure(hub)
    return hub.rstrip("/")


def _ca_bundle() -> str:
    return os.environ.get("DTH_CA_BUNDLE", "")


def _file() -> Path:
    return config_directory() / "sessions.json"


def _read() -> dict[str, SignIn]:
    """All sessions, the newest last."""
    path = _file()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise StateError(f"{path} can be read by others; run: chmod 600 {path}")
            return {hub: SignIn(**found) for hub, found in json.load(file).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError):
        raise StateError(f"{path} is damaged; remove it and sign in again: dth login") from None


@contextmanager
def _locked() -> Iterator[dict[str, SignIn]]:
    """The sessions, for nobody else meanwhile; written back at the end."""
    path = _file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.with_name("sessions.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sessions = _read()
            before = dict(sessions)
            yield sessions
            if list(sessions.items()) != list(before.items()):
                _write(path, sessions)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from None


def _write(path: Path, sessions: Mapping[str, SignIn]) -> None:
    file, written = tempfile.mkstemp(
        dir=path.parent, prefix=".sessions-"
    )  # readable by its owner only
    try:
        with open(file, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
            json.dump({hub: asdict(each) for hub, each in sessions.items()}, stream, indent=2)
        Path(written).replace(path)
    finally:
        Path(written).unlink(missing_ok=True)
