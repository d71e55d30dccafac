"""The hub's own tables.

| table | key | holds |
|---|---|---|
| tasks | `Id` | all tasks; written only if `Version` is unchanged |
| hub | `pk`, `sk` | everything else, one partition for each kind |

In the hub table:

| pk | sk | |
|---|---|---|
| `audit` | the entry's number, ten digits | who changed what |
| `count` | `audit` | the last of these numbers |
| `token` | the token's SHA-256 | an API token |
| `secret` | its name | the hosts that it is bound to |
| `store` | its name | a store |
| `job` | the job's id | a preflight, a forecast, a probe; expires after a day |

Its items have a time to live in `expires` (seconds since the epoch).
"""

from dth.platforms.aws.tables import Attribute, Table

HUB_TABLES = {
    "tasks": Table(Attribute("Id")),
    "hub": Table(Attribute("pk"), Attribute("sk"), expires="expires"),
}
