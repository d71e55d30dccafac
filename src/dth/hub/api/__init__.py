"""The GraphQL API: the root fields of `schema.graphql`, one plain function each, grouped by topic.
The GraphQL server and an AppSync Lambda function both call `resolve`.

A root field returns a dataclass of `answers`; `resolve` converts it to JSON.
"""

from dth.hub.api import (
    audit,
    backups,
    channels,
    comparisons,
    graphs,
    hub,
    jobs,
    logs,
    records,
    secrets,
    sign_in,
    stores,
    tasks,
    users,
)
from dth.hub.api.resolve import FIELDS, code_of, resolve

__all__ = ["FIELDS", "code_of", "resolve"]
__all__ += [
    "audit",
    "backups",
    "channels",
    "comparisons",
    "graphs",
    "hub",
    "jobs",
    "logs",
    "records",
    "secrets",
    "sign_in",
    "stores",
    "tasks",
    "users",
]
