"""The functions of the hub: `resolve` answers the API, `authorize` knows API tokens, `step` is one step of the workflow
of a task, `watch` looks at all of them each minute, `job` does a preflight, a forecast or a probe, and `certify` makes
a certificate.
"""

import asyncio
import logging
import tempfile
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from dth.core.errors import Forbidden, HubError, Unauthenticated
from dth.core.prices import Prices
from dth.core.transport import Transport
from dth.hub.api import code_of
from dth.hub.api import resolve as answer
from dth.hub.api.records import make_certificate
from dth.hub.auth import API_TOKEN, identity_of, is_access_token
from dth.hub.model import Identity, Role, TaskType
from dth.images.parameters import EcrParameters
from dth.images.preflight import preflight as preflight_images
from dth.images.preview import preview
from dth.images.probe import probe as probe_registry
from dth.objects.checks.preflight import preflight as preflight_objects
from dth.objects.checks.probe import probe as probe_store
from dth.objects.forecast.forecast import forecast
from dth.objects.parameters import S3Parameters
from dth.objects.task import open_route
from dth.platforms.aws.confined import confine_by_environment
from dth.platforms.aws.hub.hub import AwsHub, open_hub
from dth.platforms.aws.hub.jobs import LONGEST
from dth.platforms.aws.hub.settings import HubSettings
from dth.platforms.aws.hub.steward import watch as look_at_all
from dth.platforms.aws.secrets import AwsSecrets

TOKEN_KEPT = 60  # seconds for which AppSync asks no more who has an API token

log = logging.getLogger(__name__)
logging.getLogger("dth").setLevel(logging.INFO)


@cache
def _hub() -> AwsHub:
    """One for all calls that a function's process answers."""
    confine_by_environment()
    return open_hub(HubSettings.from_environment())


# ------------------------------------------------------------------------------------------------ the API


def resolve(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A root field, as the resolvers of the API ask for it. Returns `data`, or `error` with `message` and `code`."""
    return asyncio.run(_resolve(event))


async def _resolve(event: Mapping[str, Any]) -> dict[str, Any]:
    hub = _hub()
    try:
        caller = _caller(hub, event.get("identity") or {})
        return {"data": await answer(hub.ports, caller, event["info"]["fieldName"], event["arguments"])}
    except HubError as error:
        return {"error": {"message": str(error), "code": code_of(error)}}
    except Exception:
        number = uuid.uuid4().hex[:12]
        log.exception("error %s", number)
        message = f"internal error; the hub's log has it under {number}"
        return {"error": {"message": message, "code": "INTERNAL"}}


def _caller(hub: AwsHub, told: Mapping[str, Any]) -> Identity | None:
    """Whom AppSync let in: a user by the claims of a token, a program by an API token or by IAM. Whoever an
    account lets call the API by IAM is an admin: its policies can name the fields."""
    if given := told.get("resolverContext"):
        return Identity(
            given["subject"], given["name"], Role(given["role"]), via="token", user=given.get("user", "")
        )
    if claims := told.get("claims"):
        audience = hub.issuer.audience
        if audience and audience not in _texts(claims.get("aud")):
            raise Forbidden("the token is for somebody else (audience)")
        if not is_access_token(claims, hub.issuer):
            raise Unauthenticated("this is no access token (perhaps an ID token); send the access token")
        identity = identity_of(claims, hub.issuer)
        return replace(identity, user=identity.name) if hub.ports.users else identity
    if arn := told.get("userArn"):
        return Identity(arn, arn.partition(":")[2].rpartition(":")[2], Role.ADMIN, via="iam")
    return None


def _texts(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def authorize(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """An authorizer of AppSync: whether somebody has that API token."""
    return asyncio.run(_authorize(str(event.get("authorizationToken", ""))))


async def _authorize(header: str) -> dict[str, Any]:
    token = header.strip().rpartition(" ")[2]
    identity = await _hub().tokens.identify(token) if token.startswith(API_TOKEN) else None
    if identity is None:
        return {"isAuthorized": False}
    told = {
        "subject": identity.subject,
        "name": identity.name,
        "role": identity.role.value,
        "user": identity.user,
    }
    return {"isAuthorized": True, "resolverContext": told, "ttlOverride": TOKEN_KEPT}


# --------------------------------------------------------------------------------------------- the workflow


def step(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """{"task": id} -> the same, with `again`, and after how many seconds."""
    wait = asyncio.run(_hub().steward.step(event["task"]))
    return {"task": event["task"], "again": wait is not None, "wait": max(1, round(wait or 0))}


def watch(event: dict[str, Any], context: Any) -> None:
    """Raises HubError when it failed for a task: the hub's alarm counts that. The others were looked at."""
    asyncio.run(_watch())


async def _watch() -> None:
    hub = _hub()
    failed = await look_at_all(hub.steward)
    for task, why in failed.items():
        log.error("task %s: %s", task, why)
    await hub.notifications.deliver()
    if failed:
        raise HubError(f"{len(failed)} tasks could not be looked at: {', '.join(sorted(failed))}")


# ----------------------------------------------------------------------------------------------- the jobs


def job(event: dict[str, Any], context: Any) -> None:
    """`job`, `kind`, `parameters` as the hub's jobs start it, and `side` of a probe."""
    asyncio.run(_job(event))


def certify(event: dict[str, Any], context: Any) -> None:
    """`job`, `task` and `run` as the hub's jobs start it."""
    hub = _hub()
    asyncio.run(_end(hub, event["job"], make_certificate(hub.ports, event["task"], event["run"])))


async def _job(event: Mapping[str, Any]) -> None:
    hub = _hub()
    await _end(hub, event["job"], _result(hub, event))


async def _end(hub: AwsHub, job: str, work: Coroutine[Any, Any, dict[str, Any]]) -> None:
    """Do it, and let the job have what came of it."""
    result: dict[str, Any] | None = None
    try:
        async with asyncio.timeout(LONGEST):
            result, error = await work, ""
    except TimeoutError:
        error = f"it took longer than {LONGEST / 60:.0f} minutes"
    except HubError as refused:
        error = str(refused)
    except Exception as defect:
        log.exception("a defect of ours")
        error = f"internal error: {type(defect).__name__}"
    await hub.jobs.end(job, result, error)


async def _result(hub: AwsHub, event: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(event["parameters"])
    kind = TaskType(values.pop("type"))
    secrets = AwsSecrets(hub.aws, "", hub.table)
    work = _of_images if kind is TaskType.ECR else _of_objects
    with Transport() as transport:
        return await work(event["kind"], event["side"], values, secrets, transport, hub.ports.prices)


async def _of_images(
    kind: str,
    side: str,
    values: Mapping[str, Any],
    secrets: AwsSecrets,
    transport: Transport,
    prices: Prices,
) -> dict[str, Any]:
    parameters = EcrParameters.model_validate(values)
    match kind:
        case "preflight":
            return (await preflight_images(parameters, transport, secrets)).as_dict()
        case "probe":
            return (await probe_registry(parameters, side, transport, secrets)).as_dict()
    return await preview(parameters, transport, secrets)


async def _of_objects(
    kind: str,
    side: str,
    values: Mapping[str, Any],
    secrets: AwsSecrets,
    transport: Transport,
    prices: Prices,
) -> dict[str, Any]:
    parameters = S3Parameters.model_validate(values)
    if kind == "probe":
        return (await probe_store(parameters, side, transport, secrets)).as_dict()
    route = await open_route(parameters, transport, secrets)
    if kind == "preflight":
        return (await preflight_objects(route, secrets)).as_dict()
    with tempfile.TemporaryDirectory(prefix="dth-") as scratch:
        return (await forecast(route, Path(scratch), prices=prices)).as_dict()
