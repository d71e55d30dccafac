"""The functions of the hub.

`resolve` answers the API. `authorize` checks API tokens. `step` runs one step of a task's workflow.
`watch` checks all tasks every minute. `job` runs a preflight, a forecast, or a probe. `certify`
creates a certificate.
"""

import asyncio
import importlib
import logging
import tempfile
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from dth.compose.aws.network import check_subnets
from dth.core.checks import with_check
from dth.core.errors import Forbidden, HubError, StateError, Unauthenticated
from dth.core.plugin import Process
from dth.core.plugins import plugin
from dth.hub.api import code_of
from dth.hub.api import resolve as answer
from dth.hub.api.records import make_certificate
from dth.hub.auth import API_TOKEN, identity_of, is_access_token
from dth.hub.model import Identity, Role
from dth.platforms.aws.confined import confine_by_environment
from dth.platforms.aws.hub.hub import AwsHub, open_hub
from dth.platforms.aws.hub.jobs import LONGEST
from dth.platforms.aws.hub.settings import HubSettings
from dth.platforms.aws.hub.steward import watch as look_at_all
from dth.platforms.aws.secrets import AwsSecrets

# Seconds for which AppSync caches the owner of an API token.
TOKEN_KEPT = 60

GOES_ON = "; what was read is kept for a day, and the next certificate resumes there"

log = logging.getLogger(__name__)
logging.getLogger("dth").setLevel(logging.INFO)


@cache
def _hub() -> AwsHub:
    """Return the hub, shared by all calls that one process of a function answers."""
    confine_by_environment()
    return open_hub(HubSettings.from_environment())


# ------------------------------------------------------------------------------------------ the API


def resolve(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a root field for the API's resolvers.

    Returns `data`, or `error` with `message` and `code`.
    """
    return asyncio.run(_resolve(event))


async def _resolve(event: Mapping[str, Any]) -> dict[str, Any]:
    hub = _hub()
    try:
        caller = _caller(hub, event.get("identity") or {})
        return {
            "data": await answer(hub.ports, caller, event["info"]["fieldName"], event["arguments"])
        }
    except HubError as error:
        return {"error": {"message": str(error), "code": code_of(error)}}
    except Exception:
        number = uuid.uuid4().hex[:12]
        log.exception("error %s", number)
        message = f"internal error; the hub's log has it under {number}"
        return {"error": {"message": message, "code": "INTERNAL"}}


def _caller(hub: AwsHub, told: Mapping[str, Any]) -> Identity | None:
    """Return the caller that AppSync authenticated.

    A user is known by the claims of a token, a program by an API token or IAM. Anyone whom the
    account allows to call the API by IAM is an admin: its policies can restrict the fields.
    """
    if given := told.get("resolverContext"):
        return Identity(
            given["subject"],
            given["name"],
            Role(given["role"]),
            via="token",
            user=given.get("user", ""),
        )
    if claims := told.get("claims"):
        audience = hub.issuer.audience
        if audience and audience not in _texts(claims.get("aud")):
            raise Forbidden("the token is for somebody else (audience)")
        if not is_access_token(claims, hub.issuer):
            raise Unauthenticated(
                "this is not an access token (perhaps an ID token); send the access token"
            )
        identity = identity_of(claims, hub.issuer)
        return replace(identity, user=identity.name) if hub.ports.users else identity
    if arn := told.get("userArn"):
        return Identity(arn, arn.partition(":")[2].rpartition(":")[2], Role.ADMIN, via="iam")
    return None


def _texts(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def authorize(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """An AppSync authorizer: checks an API token."""
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


# ------------------------------------------------------------------------------------- the workflow


def step(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """{"task": id} -> the same, with `again`, and the number of seconds to wait."""
    wait = asyncio.run(_hub().steward.step(event["task"]))
    return {"task": event["task"], "again": wait is not None, "wait": max(1, round(wait or 0))}


def watch(event: dict[str, Any], context: Any) -> None:
    """Check all tasks. Raises HubError if the check of a task failed, for the hub's alarm.

    A failure does not stop the checks of other tasks.
    """
    asyncio.run(_watch())


async def _watch() -> None:
    hub = _hub()
    failed = await look_at_all(hub.steward)
    for task, why in failed.items():
        log.error("task %s: %s", task, why)
    await hub.notifications.deliver()
    if failed:
        raise HubError(f"{len(failed)} tasks could not be checked: {', '.join(sorted(failed))}")


# ----------------------------------------------------------------------------------------- the jobs


def job(event: dict[str, Any], context: Any) -> None:
    """Run a job with `job`, `kind`, and `parameters` from the hub's jobs, `side` for a probe or a
    look, and `asked` for a look."""
    asyncio.run(_job(event))


def certify(event: dict[str, Any], context: Any) -> None:
    """Create a certificate with `job`, `task`, and `run` from the hub's jobs."""
    hub = _hub()
    work = make_certificate(hub.ports, event["task"], event["run"])
    asyncio.run(_end(hub, event["job"], work, GOES_ON))


async def _job(event: Mapping[str, Any]) -> None:
    hub = _hub()
    await _end(hub, event["job"], _result(hub, event))


async def _end(
    hub: AwsHub, job: str, work: Coroutine[Any, Any, dict[str, Any]], too_long: str = ""
) -> None:
    """Do the work, and store the result in the job. `too_long`: what to do if the time is not
    enough."""
    result: dict[str, Any] | None = None
    try:
        async with asyncio.timeout(LONGEST):
            result, error = await work, ""
    except TimeoutError:
        error = f"it took longer than {LONGEST / 60:.0f} minutes{too_long}"
    except HubError as refused:
        error = str(refused)
    except Exception as defect:
        log.exception("a defect in Data Transfer Hub")
        error = f"internal error: {type(defect).__name__}"
    await hub.jobs.end(job, result, error)


async def _result(hub: AwsHub, event: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(event["parameters"])
    chosen = plugin(values.pop("type"))
    with tempfile.TemporaryDirectory(prefix="dth-") as folder:
        process = Process(
            kind=event["kind"],
            name=event["side"],
            run=0,
            parameters=chosen.parameters.model_validate(values),
            secrets=AwsSecrets(hub.aws, "", hub.table),
            folder=Path(folder),
            open_platform=_no_platform,
            open_findings=_no_findings,
            prices=lambda: hub.ports.prices,
            asked=event.get("asked", {}),
        )
        result: dict[str, Any] = await importlib.import_module(chosen.processes).run(process)
    if event["kind"] == "preflight" and (settings := HubSettings.from_environment()).subnets:
        # The function runs outside of the network in which the task will.
        client = hub.aws.client("ec2")
        subnets = await asyncio.to_thread(
            check_subnets, client, settings, chosen.type, event["parameters"]
        )
        result = with_check(result, subnets)
    return result


def _no_platform() -> NoReturn:
    raise StateError("a job has no queue and no records")


def _no_findings() -> NoReturn:
    raise StateError("a job on AWS has no place for what a comparison finds")
