"""A hub on AWS: all its ports, and the steward of its tasks."""

import json
from dataclasses import dataclass
from hashlib import sha256

from dth.core.errors import UsageError
from dth.core.prices import Prices, read_prices
from dth.hub.auth import NO_ROLE, IssuerConfig
from dth.hub.model import Role, Task
from dth.hub.ports import HubPorts
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub.engine import AwsEngine
from dth.platforms.aws.hub.jobs import AwsJobs
from dth.platforms.aws.hub.logs import AwsLogs
from dth.platforms.aws.hub.measures import Measures
from dth.platforms.aws.hub.metrics import AwsMetrics
from dth.platforms.aws.hub.notifications import AwsNotifications
from dth.platforms.aws.hub.secrets import AwsHubSecrets
from dth.platforms.aws.hub.settings import HubSettings
from dth.platforms.aws.hub.stacks import Stacks
from dth.platforms.aws.hub.steward import Steward
from dth.platforms.aws.hub.stores import AwsStores
from dth.platforms.aws.hub.tasks import AwsAudit, AwsTasks
from dth.platforms.aws.hub.tokens import AwsTokens
from dth.platforms.aws.hub.users import AwsUsers


@dataclass(frozen=True, slots=True)
class AwsHub:
    """`issuer`: the issuer whose tokens identify callers."""

    ports: HubPorts
    steward: Steward
    notifications: AwsNotifications
    jobs: AwsJobs
    tokens: AwsTokens
    issuer: IssuerConfig
    aws: Aws
    table: str  # the hub's own


def open_hub(settings: HubSettings, endpoint: str = "") -> AwsHub:
    """Open the hub, for many calls one after the other. `endpoint`: URL of all services; "" = those
    of the region."""
    aws = Aws(settings.region, endpoint)
    dynamo = Dynamo(aws, {"tasks": settings.tasks_table, "hub": settings.hub_table})
    engine = AwsEngine(aws, dynamo, settings)
    notifications = AwsNotifications(aws, dynamo, settings.topic)
    jobs = AwsJobs(aws, dynamo, settings.job_function, settings.certificate_function)
    users = AwsUsers(aws, settings.user_pool) if settings.user_pool else None
    tokens = AwsTokens(dynamo, users)

    async def signing_key() -> bytes:
        return await _signing_key(aws, settings.signing_secret)

    async def webhook(task: Task) -> dict[str, str]:
        stack = await engine.stack(task.id)
        queue = stack.outputs.get("QueueArn", "") if stack else ""
        raise UsageError(
            (
                "on AWS events come into the task's queue: let the bucket send its event "
                "notifications to "
            )
            + (queue or "the queue that the task has once it is set up")
        )

    ports = HubPorts(
        tasks=AwsTasks(dynamo),
        engine=engine,
        secrets=AwsHubSecrets(aws, dynamo, settings.secret_tag),
        stores=AwsStores(dynamo),
        users=users,
        tokens=tokens,
        # Cognito sends new users their first password.
        invitations=None,
        audit=AwsAudit(dynamo),
        notifications=notifications,
        metrics=AwsMetrics(aws, dynamo, engine.worker_group),
        logs=AwsLogs(aws, settings.log_prefix),
        jobs=jobs,
        # A function ends after minutes, and what a comparison finds needs a disk.
        comparisons=None,
        # The tables have backups of their own.
        backups=None,
        signing_key=signing_key,
        webhook=webhook,
        prices=prices_of(settings),
        own_buckets=frozenset({settings.asset_bucket, settings.console_bucket} - {""}),
        assumable_roles=tuple(settings.assumable_roles.split()),
        info={"platform": "aws", "issuer": settings.issuer, "limits": {}},
    )
    return AwsHub(
        ports=ports,
        steward=Steward(
            ports, engine, Stacks(aws, settings.service_role), Measures(ports, dynamo, aws), aws
        ),
        notifications=notifications,
        jobs=jobs,
        tokens=tokens,
        issuer=issuer_config(settings),
        aws=aws,
        table=settings.hub_table,
    )


def issuer_config(settings: HubSettings) -> IssuerConfig:
    """The issuer whose tokens the API accepts. Only administrators create users in the hub's own
    pool, so each of them is at least a viewer. Raises UsageError for invalid settings."""
    default = Role.VIEWER.value if settings.user_pool else settings.default_role or NO_ROLE
    try:
        roles = json.loads(settings.roles or "{}")
    except ValueError:
        raise UsageError(
            'the roles of groups are not JSON; give them as {"hub-admins": "admin"}'
        ) from None
    return IssuerConfig(
        settings.issuer,
        settings.client,
        settings.audience,
        settings.role_claim,
        roles=roles,
        default_role=default,  # type: ignore[arg-type]
    )


def prices_of(settings: HubSettings) -> Prices:
    """Prices of stores that are not AWS. Raises UsageError for invalid settings."""
    try:
        given = json.loads(settings.prices or "{}")
        if not isinstance(given, dict):
            raise ValueError("a JSON object is needed")
        return read_prices(**given)
    except (TypeError, ValueError) as error:
        raise UsageError(
            'the prices of stores are not JSON such as {"store.example.com": {"gb": 0.01, '
            f'"requests": 0}}}}: {error}'
        ) from None


async def _signing_key(aws: Aws, name: str) -> bytes:
    """The key that signs certificates, derived from the deployment's random secret: any 32 bytes
    are a valid key."""
    answer = await aws.call("secretsmanager", "get_secret_value", SecretId=name)
    return sha256(answer["SecretString"].encode()).digest()
