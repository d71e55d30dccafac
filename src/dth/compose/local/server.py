"""The hub on one machine: how its parts are assembled, and what it serves.

One process with one event loop answers requests and keeps the tasks. The fork server, which
is forked before any event loop exists, starts the processes of tasks.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import os
import re
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from dth.compose.local import process
from dth.compose.local.base import TASKS, Door, Ground, HubBase
from dth.core import clock, interrupts
from dth.core.cancelling import stays_cancelled
from dth.core.confinement import Confinement, confine
from dth.core.errors import (
    Conflict,
    DatabaseAway,
    Forbidden,
    HubError,
    NotFound,
    StateError,
    Unauthenticated,
    UsageError,
)
from dth.core.network import Network
from dth.core.plugins import plugin, plugins
from dth.core.prices import Prices, read_prices
from dth.core.secrets import SecretUse, WrongHost
from dth.core.transport import Transport
from dth.hub import monitoring
from dth.hub.api import code_of
from dth.hub.api.backups import NO_BACKUPS
from dth.hub.audit import BACKUP, BUILT_IN_SIGN_IN, RESTORE, entry, note
from dth.hub.auth import Authenticator, IssuerConfig
from dth.hub.model import Identity, Progress, Role, Task
from dth.hub.ports import HubPorts
from dth.hub.webhooks import post_over
from dth.platforms.local import graphql, process_metrics
from dth.platforms.local.audited import LOCAL, who
from dth.platforms.local.backups import LocalBackups
from dth.platforms.local.budget import Budgets, TooMuch
from dth.platforms.local.comparisons import LocalComparisons
from dth.platforms.local.connections import ConnectionLimits, Connections, Server
from dth.platforms.local.console import Console
from dth.platforms.local.due_tasks import DueTasks
from dth.platforms.local.filesystem import lock_state_directory
from dth.platforms.local.fork_server import LOST, ForkServer
from dth.platforms.local.invitation_pages import PATH, InvitationPages
from dth.platforms.local.invitations import LocalInvitations
from dth.platforms.local.jobs import LocalJobs
from dth.platforms.local.keeper import Bounds, Keeper
from dth.platforms.local.logs import LocalLogs
from dth.platforms.local.metrics import LocalMetrics
from dth.platforms.local.notifier import Notifier, SmtpConfig
from dth.platforms.local.oidc import COMMAND, Provider
from dth.platforms.local.restore import take_restore
from dth.platforms.local.secrets import LocalSecrets
from dth.platforms.local.sign_in import LocalSignIn
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.stores import LocalStores
from dth.platforms.local.tasks import LocalAudit, LocalTasks
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.users import LocalUsers, first_admin
from dth.platforms.local.vault import Vault, forget, found, keep, kept

log = logging.getLogger(__name__)

ADDRESS_FILE = "address"
REPLACED = "another hub has taken over the database; this one has ended its processes"
SETTINGS_FILE = "hub.yaml"
# A hub on one machine is in the same network as its users' stores, unless its settings differ.
OPEN = Network(loopback=True, private=True)
BUNDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
MAX_BODY = 2 * 1024 * 1024  # bytes of a request
# Bytes of an answer that count as a second of work.
ANSWER_BYTES = 4_000_000.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
WILDCARDS = ("0.0.0.0", "::")
CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
FIRST_PASSWORD = "first password"  # name of the stored setting
HSTS = "max-age=63072000"
ENDED = (Progress.STOPPING, Progress.STOPPED, Progress.DONE)
# Seconds that the database may take to answer while the hub counts as ready.
READY = 3.0
PRUNE = 300.0  # seconds between clean-ups
# Seconds before failed background work restarts.
AGAIN = 5.0
CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Listen:
    """The hub's address. `public_url`: the address for users, if it differs from the listening
    one."""

    host: str = "127.0.0.1"
    port: int = 8780
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    public_url: str = ""
    # Where other hubs reach this one; "": where it listens.
    advertise: str = ""

    def check(self) -> None:
        """Raise UsageError if passwords and tokens would cross a network in the clear."""
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise UsageError("--tls-cert and --tls-key go together")
        for path in (self.tls_certificate, self.tls_key):
            if path and not path.is_file():
                raise UsageError(f"{path} is not a file")
        if self.tls_certificate and self.tls_key:
            _check_certificate(self.tls_certificate, self.tls_key)
        if self.advertise and not re.fullmatch(r"https?://[^/?#@\s]+/?", self.advertise):
            raise UsageError(
                f"--advertise {self.advertise}: an address such as https://10.0.0.7:8780 is needed"
            )
        if self.host in LOOPBACK or self.tls_certificate:
            return
        if not self.public_url.startswith("https://"):
            raise UsageError(
                f"--host {self.host} is open to the network: give --tls-cert and --tls-key, or "
                "the address of the proxy in front that speaks TLS (--public-url https://...)"
            )

    def url(self, port: int) -> str:
        """Return the address for users."""
        return self.public_url.rstrip("/") or self._listening_at(port)

    def advertised(self, port: int) -> str:
        """Return the address for other hubs; "" if it is unknown."""
        if self.advertise:
            return self.advertise.rstrip("/")
        return "" if self.host in WILDCARDS else self._listening_at(port)

    def certificate(self) -> str:
        """Return the certificate of the hub, without its chain; "" if it has none."""
        if not self.tls_certificate:
            return ""
        found = CERTIFICATE.search(self.tls_certificate.read_text("ascii", "replace"))
        return found[0] if found else ""

    def _listening_at(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls_certificate else ''}://{host}:{port}"


def _check_certificate(certificate: Path, key: Path) -> None:
    """Raise UsageError if the hub could not speak TLS with these files."""
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            raise UsageError(f"{path} cannot be read by this user")
    try:
        # A key with a password would ask for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            said = f"--tls-key {key} is not the key of --tls-cert {certificate}"
        else:
            said = (
                f"--tls-cert {certificate} and --tls-key {key}: a PEM file with the certificate "
                "and its chain is needed, and one with its key, without a password"
            )
        raise UsageError(said) from None
    except ValueError:
        raise UsageError(f"--tls-key {key} has a password; give a key without one") from None


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in `hub.yaml` in the data directory."""

    issuer: IssuerConfig | None = None
    smtp: SmtpConfig | None = None
    bounds: Bounds = field(default_factory=Bounds)
    confinement: Confinement = field(default_factory=lambda: Confinement(network=OPEN))
    prices: Prices = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, network: Network = OPEN) -> "Settings":
        """Read the settings; defaults if there is no file. `network`: where the settings do not say
        it. Raises UsageError that names the error."""
        try:
            given = yaml.safe_load(path.read_text("utf-8")) if path.exists() else None
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UsageError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        kinds: dict[str, Any] = {
            "issuer": IssuerConfig,
            "smtp": SmtpConfig,
            "bounds": Bounds,
            "prices": read_prices,
        }
        if not isinstance(given, dict | None) or not set(given or {}) <= {*kinds, *CONFINING}:
            known = ", ".join((*kinds, *CONFINING))
            wrong = sorted(map(str, given)) if isinstance(given, dict) else []
            odd = ", ".join(name for name in wrong if name not in (*kinds, *CONFINING))
            raise UsageError(
                f"{path}: {f'there is no setting {odd}; ' if odd else ''}only {known} may be set, "
                "each with names and values below it"
            )
        found: dict[str, Any] = {}
        confining: dict[str, Any] = {"network": network}
        for name, values in (given or {}).items():
            try:
                if name in CONFINING:
                    confining[name] = CONFINING[name](values)
                else:
                    found[name] = kinds[name](**(values or {}))
            except (TypeError, ValueError, UsageError) as error:
                raise UsageError(f"{path}: {name}: {error}") from None
        return cls(**found, confinement=Confinement(**confining))


def _settings(data_dir: Path, file: Path | None) -> Settings:
    """Return the settings in the file: that of the data directory, unless another one is given. A
    file that is given has to be there."""
    if file and not file.is_file():
        raise UsageError(f"{file} is not a file")
    path = file or data_dir / SETTINGS_FILE
    settings = Settings.read(path)
    own = os.path.realpath(data_dir)
    for folder in settings.confinement.folders:
        if os.path.commonpath([folder, own]) in (folder, own):
            raise UsageError(
                f"{path}: folders: {folder} has something of the hub's own data ({own}), which "
                "no task may read; list another folder"
            )
    return settings


def _ca_bundles(given: object) -> dict[str, str]:
    """Return names of CA bundles and their files. Raises UsageError."""
    if not isinstance(given, dict) or not all(
        isinstance(each, str) for pair in given.items() for each in pair
    ):
        raise UsageError(
            "names with a file each are needed, such as corporate: /etc/ssl/corporate.pem"
        )
    for name, file in given.items():
        if not BUNDLE.fullmatch(name):
            raise UsageError(f"{name!r} is not a name: letters, digits and any of _.- make one")
        if not Path(file).is_absolute() or not Path(file).is_file():
            raise UsageError(f"{name}: {file!r} is not the path of a file, from / on")
    return given


def _profiles(given: object) -> frozenset[str]:
    if not isinstance(given, list) or not all(isinstance(each, str) and each for each in given):
        raise UsageError("a list of names is needed, such as [backup]")
    return frozenset(given)


def _folders(given: object) -> tuple[str, ...]:
    """Return the real paths of folders. Raises UsageError."""
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise UsageError("a list of folders is needed, such as [/srv/export]")
    for each in given:
        if not Path(each).is_absolute() or not Path(each).is_dir():
            raise UsageError(f"{each!r} is not the path of a folder, from / on")
    return tuple(os.path.realpath(each) for each in given)


def _network(given: object) -> Network:
    if not isinstance(given, dict) or set(given) != {"allow"}:
        raise UsageError("it has allow and nothing else, such as allow: [loopback, private]")
    return Network.read(given["allow"])


# What a task may use of this machine, and how to read each from the settings.
CONFINING: dict[str, Callable[[object], Any]] = {
    "ca_bundles": _ca_bundles,
    "aws_profiles": _profiles,
    "folders": _folders,
    "network": _network,
}


@dataclass(slots=True)
class Hub:
    """All parts of a running hub."""

    url: str
    data_dir: Path
    fork_server: ForkServer
    ports: HubPorts
    keeper: Keeper
    metrics: LocalMetrics
    authenticator: Authenticator
    provider: Provider
    invitations: LocalInvitations
    sign_in: LocalSignIn
    # Whether users sign in at the hub itself.
    built_in: bool
    backups: LocalBackups | None
    webhook_key: bytes
    ground: Ground
    first_password: str | None = None
    ready: bool = False


def start_fork_server(base: HubBase, settings_file: Path | None = None) -> ForkServer:
    """Start the fork server, before any event loop.

    Confines this process and its descendants to what the settings allow.
    """
    confine(_settings(base.data_dir, settings_file).confinement)
    for each in plugins().values():
        process.load(each)
    return ForkServer(base.run)


async def serve(
    base: HubBase,
    listen: Listen,
    fork_server: ForkServer,
    announce: Callable[[Hub], None],
    say: Callable[[str], None],
    admin_password: str = "",
    settings_file: Path | None = None,
    built_in_sign_in: bool = False,
) -> None:
    """Run the hub until SIGINT or SIGTERM.

    Calls `announce` once the hub works, and `say` with what it does until then.
    `admin_password`: the first user's; "" = generate one. `settings_file`: if it is not in the data
    directory. `built_in_sign_in`: users sign in at the hub itself, whatever is set.

    Without its fork server the hub cannot work, and a process with threads cannot safely fork
    another one. It then raises StateError, so the service manager restarts it.
    """
    listen.check()
    data_dir = base.data_dir
    was_replaced = False
    with lock_state_directory(data_dir, wait=10.0):
        restored = take_restore(data_dir)
        async with AsyncExitStack() as stack:
            socket = _listening(listen)
            port = socket.getsockname()[1]
            url = listen.url(port)

            def open_door() -> asyncio.Task[None]:
                _write_address(data_dir, url)
                stack.callback((data_dir / ADDRESS_FILE).unlink, missing_ok=True)
                serving = asyncio.create_task(server.serve([socket]))
                stack.push_async_callback(_close, server, serving)
                return serving

            door = Door(
                url, listen.advertised(port), listen.certificate(), _headers(url), open_door, say
            )
            server = _server(door, listen)
            opened = open_hub(
                base, door, fork_server, admin_password, settings_file, built_in_sign_in
            )
            hub = await _enter(stack, opened, door, fork_server)
            if hub:
                if restored:
                    contents, kept_in = restored
                    log.warning("a backup was restored; what it replaced is in %s", kept_in)
                    await note(
                        hub.ports.audit, RESTORE, contents.who, contents.via, target=kept_in.name
                    )
                loop = asyncio.get_running_loop()
                stopping = asyncio.Event()
                interrupts.handle(lambda: loop.call_soon_threadsafe(stopping.set))
                serving = door.answer(hub.ground.among_others(application(hub)))
                hub.ready = True
                announce(hub)
                ends: list[asyncio.Future[Any]] = [
                    asyncio.ensure_future(each)
                    for each in (stopping.wait(), fork_server.lost(), hub.ground.replaced())
                ]
                await asyncio.wait({*ends, serving}, return_when=asyncio.FIRST_COMPLETED)
                was_replaced = ends[-1].done()
                for each in ends:
                    each.cancel()
                hub.ready = False
                await _close(server, serving)
    if not fork_server.lives:
        raise StateError(LOST)
    if was_replaced:
        ends[-1].result()  # raises a defect, which must not be taken for another hub
        raise StateError(REPLACED)


async def _enter(
    stack: AsyncExitStack,
    opening: AbstractAsyncContextManager[Hub],
    door: Door,
    fork_server: ForkServer,
) -> Hub | None:
    """Enter the hub. None: it stood by, and was told to end, or has lost its fork server."""
    this = asyncio.current_task()
    assert this
    losing = asyncio.create_task(fork_server.lost())
    losing.add_done_callback(lambda lost: lost.cancelled() or this.cancel())
    try:
        return await stack.enter_async_context(opening)
    except asyncio.CancelledError:
        if fork_server.lives and not door.stands_by:
            raise
        return None
    finally:
        losing.cancel()


def _server(door: Door, listen: Listen) -> Server:
    proxied = bool(listen.public_url) and not listen.tls_certificate
    return Server(
        uvicorn.Config(
            door,
            http="h11",
            ws="none",
            log_level="error",  # Anybody can provoke its warnings.
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
            ssl_certfile=listen.tls_certificate,
            ssl_keyfile=listen.tls_key,
            # A proxy in front reports its clients; FORWARDED_ALLOW_IPS says which proxy to trust.
            proxy_headers=proxied,
        ),
        Connections(ConnectionLimits.here(behind_proxy=proxied)),
    )


async def _close(server: Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await serving


def _write_address(data_dir: Path, url: str) -> None:
    """Commands on this machine find the hub by this file."""
    written = data_dir / f"{ADDRESS_FILE}.new"
    written.write_text(f"{url}\n", "utf-8")
    written.replace(data_dir / ADDRESS_FILE)  # atomically


def _listening(listen: Listen) -> Any:
    import socket

    try:
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        return socket.create_server((listen.host, listen.port), family=family, backlog=1024)
    except OSError as error:
        # Without the address, which Python repeats.
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise UsageError(
            f"{listen.host} port {listen.port} cannot be used: {why}; choose another one with "
            "--port (0: any free one) and --host"
        ) from None


@asynccontextmanager
async def open_hub(
    base: HubBase,
    door: Door,
    fork_server: ForkServer,
    admin_password: str = "",
    settings_file: Path | None = None,
    built_in_sign_in: bool = False,
) -> AsyncIterator[Hub]:
    """Assemble the parts. On exit they end in order: tasks drain, messages are sent, databases
    close.
    """
    data_dir = base.data_dir
    settings = _settings(data_dir, settings_file)
    url = door.url
    async with base.open(door) as ground:
        database, vault = ground.database, ground.vault
        keeper = Keeper(data_dir / TASKS, fork_server, settings.bounds, ground.storage)
        users, tokens = LocalUsers(database), LocalTokens(database)
        smtp = settings.smtp
        stored = LocalSecrets(database, vault, {smtp.password_secret: smtp.hosts} if smtp else None)
        if smtp:
            # If the secret is bound to other hosts, the first mail reports it.
            with contextlib.suppress(WrongHost):
                await stored.use([SecretUse("mail server", smtp.password_secret, smtp.hosts)])
        transport = Transport()
        notifier = Notifier(database, vault, settings.smtp, partial(post_over, transport))
        jobs = LocalJobs(database, data_dir / "jobs", fork_server, settings.prices)
        await jobs.fail_unfinished()
        comparisons = LocalComparisons(database, data_dir / "comparisons", fork_server)
        await comparisons.end_unfinished()
        backups = LocalBackups(data_dir, f"{url}/backup") if ground.in_data_dir else None
        provider = await Provider.open(database, vault, users, f"{url}/oidc", [url])
        invitations = LocalInvitations(database, users, f"{url}/oidc{PATH}")
        sign_in = LocalSignIn(
            database, vault, settings.issuer, built_in_sign_in, settings.confinement.network
        )
        issuer = await sign_in.in_force()
        webhook_key = await kept(database, vault, "webhook", lambda: secrets.token_bytes(32))
        metrics = LocalMetrics(database)

        async def webhook(task: Task) -> dict[str, str]:
            token = webhook_token(webhook_key, task.id)
            return {"url": f"{url}/events/{task.id}", "token": token}

        ports = HubPorts(
            tasks=LocalTasks(database),
            engine=keeper,
            secrets=stored,
            stores=LocalStores(database),
            users=users,
            tokens=tokens,
            invitations=invitations,
            audit=LocalAudit(database),
            notifications=notifier,
            metrics=metrics,
            logs=LocalLogs(keeper.state),
            jobs=jobs,
            comparisons=comparisons,
            backups=backups,
            signing_key=partial(_signing_key, database, vault),
            webhook=webhook,
            prices=settings.prices,
            sign_in=sign_in,
            info={"platform": "local", "limits": asdict(settings.bounds)},
        )
        keeper.due_tasks = DueTasks(database)
        hub = Hub(
            url=url,
            data_dir=data_dir,
            fork_server=fork_server,
            ports=ports,
            keeper=keeper,
            metrics=metrics,
            authenticator=Authenticator(provider.verifier, tokens),
            provider=provider,
            invitations=invitations,
            sign_in=sign_in,
            built_in=True,
            backups=backups,
            webhook_key=webhook_key,
            ground=ground,
            first_password=None
            if issuer
            else await _first_password(database, vault, users, admin_password),
        )

        def put_in_force(issuer: IssuerConfig | None) -> None:
            """Let users sign in there; with None at the hub itself. Sessions from before end."""
            verifier = sign_in.verifier(issuer) if issuer else provider.verifier
            hub.built_in = issuer is None
            hub.authenticator = Authenticator(verifier, tokens)
            hub.ports = replace(
                hub.ports,
                users=None if issuer else users,
                invitations=None if issuer else invitations,
                info={
                    **hub.ports.info,
                    "issuer": verifier.config.issuer,
                    "client": verifier.config.client_id,
                    "scope": verifier.config.scope,
                    "audience": issuer.audience if issuer else "",
                },
            )
            keeper.ports = hub.ports

        sign_in.apply = put_in_force
        put_in_force(issuer)
        if built_in_sign_in:
            await note(ports.audit, BUILT_IN_SIGN_IN, who(), LOCAL)
        background = [
            asyncio.create_task(_for_ever("the keeper of tasks", keeper.run)),
            asyncio.create_task(_for_ever("the notifier", notifier.run)),
            asyncio.create_task(_for_ever("the pruning of graphs", partial(_prune, metrics))),
        ]
        try:
            yield hub
        finally:
            for each in background:
                each.cancel()
                await asyncio.gather(each, return_exceptions=True)
            await jobs.close()
            await comparisons.close()
            if backups:
                await backups.close()
            transport.close()


async def _first_password(
    database: SqlDatabase, vault: Vault, users: LocalUsers, given: str
) -> str | None:
    """Return the password that was generated for admin, until another one is chosen; None
    otherwise.
    """
    if made := await first_admin(users, given):
        if given:
            return None  # the caller knows it
        await keep(database, vault, FIRST_PASSWORD, made.encode())
        return made
    known = await found(database, vault, FIRST_PASSWORD)
    if known is None:
        return None
    if await users.is_first(known.decode()):
        return known.decode()
    await forget(database, FIRST_PASSWORD)
    return None


async def _for_ever(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Restart the work after a defect or a full disk: it must not end."""
    while True:
        try:
            with stays_cancelled():
                await work()
        except DatabaseAway:
            pass  # said by the database
        except Exception:
            log.exception("%s failed; it is started again", what)
        await asyncio.sleep(AGAIN)


async def _prune(metrics: LocalMetrics) -> None:
    while True:
        await metrics.prune(clock.now())
        await asyncio.sleep(PRUNE)


def webhook_token(key: bytes, task: str) -> str:
    """Return the token that proves a notification is for this task.

    It is derived from the hub's key, so no token is stored.
    """
    return hmac.new(key, task.encode(), sha256).hexdigest()


# ------------------------------------------------------------------------------------------- routes


def application(hub: Hub) -> Starlette:
    """Return the application that serves the hub."""
    schema = graphql.load_schema()
    budgets = Budgets()

    async def ask(request: Request) -> Response:
        caller = await _caller(hub, request)
        body = await _body(request)
        async with budgets.turn(caller.user or caller.subject) as spent:
            try:
                asked = json.loads(body)
            except (ValueError, RecursionError):
                return JSONResponse(graphql.failure("the request is not JSON", "BAD_INPUT"), 400)
            answer = JSONResponse(await graphql.answer(schema, hub.ports, caller, asked, spent))
            spent.seconds += len(answer.body) / ANSWER_BYTES
            return answer

    async def events(request: Request) -> Response:
        return await _take_events(hub, request)

    async def health(_: Request) -> Response:
        if not hub.fork_server.lives:
            return PlainTextResponse(f"{LOST}\n", 503)
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        try:
            async with asyncio.timeout(READY):
                await hub.ports.tasks.count()
        except TimeoutError:
            raise StateError("the database does not answer") from None
        good = hub.ready and hub.fork_server.lives
        return PlainTextResponse("ready\n" if good else "stopping\n", 200 if good else 503)

    async def metrics(request: Request) -> Response:
        await _caller(hub, request)
        counts = await hub.ports.tasks.count()
        now = await hub.metrics.latest()
        text = monitoring.prometheus(counts, hub.keeper.totals, now)
        text += process_metrics.exposition(hub.data_dir)
        return PlainTextResponse(text, headers={"content-type": monitoring.EXPOSITION})

    async def config(_: Request) -> Response:
        info = hub.ports.info
        oidc = {
            "authority": info["issuer"],
            "clientId": info["client"],
            "cliClientId": COMMAND if hub.built_in else info["client"],
            "scope": info["scope"],
            "audience": info["audience"],
        }
        return JSONResponse({"url": hub.url, "graphqlEndpoint": "/graphql", "oidc": oidc})

    routes: list[Any] = [
        Route("/graphql", ask, methods=["POST"]),
        Route("/events/{task}", events, methods=["POST"]),
        Route("/backup", partial(_download_backup, hub)),
        Route("/restore/{id}", partial(_take_piece, hub), methods=["POST"]),
        Route("/healthz", health),
        Route("/readyz", ready),
        Route("/metrics", metrics),
        Route("/config.json", config),
    ]
    invited = InvitationPages(hub.provider, hub.invitations, hub.ports.audit, hub.url, "/oidc")
    own = Router([*hub.provider.routes(), *invited.routes()])
    routes.append(Mount("/oidc", app=partial(_own_sign_in, hub, own)))
    routes.append(Console(partial(_issuers, hub)).route())
    return Starlette(
        routes=routes,
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=partial(_guarded, _headers(hub.url)))],
        exception_handlers={HubError: _told, ClientDisconnect: _gone, Exception: _internal},
    )


async def _own_sign_in(hub: Hub, own: Router, scope: Scope, receive: Receive, send: Send) -> None:
    """The hub's own sign-in, while users sign in there. A page from before is led to the sign-in
    of today."""
    elsewhere: Response = RedirectResponse("/", 303)
    if scope["method"] != "GET":
        elsewhere = PlainTextResponse("users of this hub sign in elsewhere\n", 404)
    await (own if hub.built_in else elsewhere)(scope, receive, send)


async def _issuers(hub: Hub) -> list[str]:
    """Where pages of the console send requests when users sign in."""
    return [hub.ports.info["issuer"], *await hub.sign_in.origins(hub.built_in)]


def _headers(url: str) -> dict[str, str]:
    """Return the headers of every answer of a hub at this address."""
    return HEADERS | ({"strict-transport-security": HSTS} if url.startswith("https:") else {})


async def _guarded(
    headers: Mapping[str, str], request: Request, call: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call(request)
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    return response


async def _told(_: Request, error: Exception) -> Response:
    """Answer an error outside of GraphQL: one line and a status."""
    status, code = 400, "BAD_INPUT"
    match error:
        case Unauthenticated():
            status, code = 401, "UNAUTHENTICATED"
        case Forbidden():
            status, code = 403, "FORBIDDEN"
        case NotFound():
            status, code = 404, "NOT_FOUND"
        case StateError():
            status, code = 503, "FAILED"
        case Conflict():
            status, code = 409, "CONFLICT"
        case TooMuch():
            status, code = 429, "LIMIT"
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, TooMuch):
        headers["retry-after"] = str(error.wait)
    return JSONResponse(graphql.failure(str(error), code), status, headers)


async def _gone(_: Request, __: Exception) -> Response:
    """The client disconnected before the request was complete, as browsers do between pages.

    Nobody reads this answer.
    """
    return Response(status_code=400)


async def _internal(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return JSONResponse(graphql.failure("internal error; the hub's log has it", "INTERNAL"), 500)


async def _caller(hub: Hub, request: Request) -> Identity:
    """Return the caller. The connections of authenticated callers stay open when room is needed for
    others.
    """
    _signed_in(request, False)
    caller = await hub.authenticator.identify(request.headers.get("authorization", ""))
    _signed_in(request, True)
    return caller


def _signed_in(request: Request, proved: bool) -> None:
    if peer := request.scope.get("state", {}).get("peer"):
        peer.signed_in = proved


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise UsageError(f"the request has more than {MAX_BODY} bytes")
    return bytes(body)


def _require_admin(caller: Identity, what: str) -> None:
    if not caller.role.covers(Role.ADMIN):
        raise Forbidden(f"{what} needs the role {Role.ADMIN}; you have {caller.role}")


def _backups(hub: Hub) -> LocalBackups:
    if hub.backups is None:
        raise UsageError(NO_BACKUPS)
    return hub.backups


async def _download_backup(hub: Hub, request: Request) -> Response:
    """Send a backup to the holder of a link, or to an administrator who can send a token."""
    if ticket := request.query_params.get("ticket"):
        caller = _backups(hub).holder(ticket)
        _signed_in(request, True)
    else:
        caller = await _caller(hub, request)
    _require_admin(caller, "a backup")
    name = time.strftime("dth-%Y%m%dT%H%M%SZ", time.gmtime())
    content = _backups(hub).download(name)
    first = await anext(content)  # what hinders it from the start is answered
    file = f"{name}.tar.gz"
    number = await hub.ports.audit.begin(
        entry(BACKUP, caller.name, caller.via, target=file, detail={})
    )

    async def body() -> AsyncIterator[bytes]:
        outcome = "FAILED"
        try:
            yield first
            async for piece in content:
                yield piece
            outcome = "ok"
        except HubError as error:
            # The answer ends before its end, so nobody takes it for a backup.
            log.warning("the download of a backup failed: %s", error)
            outcome = code_of(error)
            raise
        finally:
            await content.aclose()
            await asyncio.shield(hub.ports.audit.end(number, outcome))

    headers = {"content-disposition": f'attachment; filename="{file}"'}
    return StreamingResponse(body(), media_type="application/gzip", headers=headers)


async def _take_piece(hub: Hub, request: Request) -> Response:
    """Take a piece of a backup that is to be restored."""
    _require_admin(await _caller(hub, request), "restoring a backup")
    offset = request.query_params.get("offset", "")
    if not re.fullmatch(r"[0-9]{1,15}", offset):
        raise UsageError("offset: the number of bytes that are there already")
    upload = request.path_params["id"]
    size = await _backups(hub).upload(upload, int(offset), await _body(request))
    return JSONResponse({"bytes": size})


async def _take_events(hub: Hub, request: Request) -> Response:
    """Take a store's notifications for one task.

    The proof is a bearer token, or `?token=` for senders that cannot set headers (SNS). The answer
    follows once they are safe in the task's queue.
    """
    task_id = request.path_params["task"]
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    # MinIO sends it without a scheme.
    token = bearer or scheme or request.query_params.get("token", "")
    if not hmac.compare_digest(token.encode(), webhook_token(hub.webhook_key, task_id).encode()):
        raise Unauthenticated("the token is not that of this task; getWebhook has it")
    _signed_in(request, True)
    task = await hub.ports.tasks.get(task_id)
    chosen = plugin(task.type)
    if not chosen.follows_events(task.model):
        raise UsageError("the task follows no events; set srcEvent to Create or CreateAndDelete")
    if task.progress in ENDED:
        raise Conflict(f"the task is {task.progress}; it takes no events until it is resumed")
    taken = chosen.read_notification(await _body(request))
    if taken.confirm:
        log.warning("task %s: to confirm its SNS subscription, open %s", task_id, taken.confirm)
    if taken.messages:
        async with hub.keeper.open(task_id) as platform:
            # If the hub is killed before the next call, it checks the queue.
            await hub.keeper.changed(task_id)
            await platform.queue.send(taken.messages)
        await hub.keeper.changed(task_id)
    return JSONResponse({"taken": len(taken.messages), "confirm": taken.confirm})


async def _signing_key(database: SqlDatabase, vault: Vault) -> bytes:
    from dth.hub.certificate import new_key

    return await kept(database, vault, "certificate", new_key)
