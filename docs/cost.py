"""Writes docs/cost.md from docs/prices.json: every figure of the page is computed here."""

# ruff: noqa: E501 - the lines of the page; `_folded` breaks them

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dth.platforms.aws.warmth import MOST, NEW_TABLE, WITHIN

PAGE = Path(__file__).with_name("cost.md")
DATA = Path(__file__).with_name("prices.json")
TIB = 1 << 40
TB_GB = TIB / 1e9  # prices are by the GB of 10^9 bytes
MONTH = 730.0  # hours
MINUTES = MONTH * 60
SMALL, LARGE = 10 * 1024, 50_000_000  # bytes of an object


@dataclass(frozen=True)
class Line:
    """One part of a calculation: what, how much of it, and what that costs in USD."""

    what: str
    amount: str
    usd: float


class Costs:
    """Prices and premises by name, as numbers."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.price = {name: each[0] for name, each in data["prices"].items()}
        self.premise = {name: each[0] for name, each in data["premises"].items()}

    # ------------------------------------------------------------------------------------- machines

    @property
    def worker_hour(self) -> float:
        disk = 8 * self.price["disk_gb_month"] / MONTH
        return float(self.price["worker_hour"] + self.price["address_hour"] + disk)

    @property
    def finder_hour(self) -> float:
        disk = 32 * self.price["disk_gb_month"] / MONTH
        return float(self.price["finder_hour"] + self.price["address_hour"] + disk)

    @property
    def worker_bytes(self) -> float:
        """Bytes per second that a worker takes in, and sends at the same time."""
        return float(self.premise["worker_gbit"] * self.premise["usable"] * 1e9 / 8)

    # ----------------------------------------------------------------------------------- transfers

    def transfer(self, size: int) -> list[Line]:
        """What 1 TiB in objects of that size costs besides the stores."""
        objects = TIB / size
        writes = objects * self.premise["writes_per_object"] / 1e6
        kind = "small" if size < 1 << 20 else "large"
        calls = objects * self.premise[f"calls_per_{kind}_object"] / 1e6
        listing = max(objects / self.premise["listing_rate"] / 3600, 0.25)
        if kind == "small":
            hours = [objects / self.premise[f"{each}_rate"] / 3600 for each in ("fast", "slow")]
            told = f"{hours[0]:.0f} to {hours[1]:.0f} machine hours; the CPU is the limit"
        else:
            hours = [TIB / self.worker_bytes / 3600]
            told = f"{hours[0]:.1f} machine hours; the network is the limit"
        machines = sum(hours) / len(hours) * self.worker_hour
        return [
            Line("DynamoDB, records", f"{_count(writes * 1e6)} writes",
                 writes * self.price["dynamodb_million_writes"]),
            Line("SQS", f"{_count(calls * 1e6)} calls", calls * self.price["sqs_million_calls"]),
            Line("workers", told, machines),
            Line("finder", f"{listing:.2g} hours of listing", listing * self.finder_hour),
            Line("functions, one look per minute", "1 day", self.look_month / 30),
        ]  # fmt: skip

    def requests(self, size: int) -> float:
        """One GET and one PUT per object."""
        each = self.price["s3_put_thousand"] + self.price["s3_get_thousand"]
        return float(TIB / size / 1000 * each)

    def storage_month(self, size: int) -> tuple[float, float, float]:
        """GB of records, and what they and their recovery cost per month."""
        gb = TIB / size * self.premise["record_bytes"] / 1e9
        return gb, gb * self.price["dynamodb_storage"], gb * self.price["dynamodb_pitr"]

    # ---------------------------------------------------------------------------------------- idle

    def _looks(self, number: float, seconds: float) -> float:
        return float(number * seconds * self.premise["look_gb"] * self.price["lambda_gb_second"])

    @property
    def look_month(self) -> float:
        """Looks at a task that works, one per minute for a month."""
        return self._looks(MINUTES, self.premise["look_seconds"])

    @property
    def resting_look_month(self) -> float:
        """The same while there is nothing to do: most looks end after a few reads."""
        full = MINUTES / self.premise["full_look_minutes"]
        return self._looks(MINUTES - full, self.premise["resting_look_seconds"]) + self._looks(
            full, self.premise["look_seconds"]
        )

    def waiting(self) -> list[Line]:
        """A task for objects that waits for a month, without a machine."""
        metrics = self.premise["alarm_metrics"]
        calls = MINUTES * self.premise["queues"]
        return [
            Line("alarms", f"{metrics:.0f} metrics", metrics * self.price["alarm_metric"]),
            Line("asking its queues each minute", f"{_count(calls)} calls",
                 calls / 1e6 * self.price["sqs_million_calls"]),
            Line("the function that looks each minute", f"{MINUTES:,.0f} looks",
                 self.resting_look_month),
            Line("idle tables, logs", "at most", self.premise["idle_rest"]),
        ]  # fmt: skip

    def datasync(self, enhanced: bool) -> float:
        if enhanced:
            price = self.price["datasync_enhanced_gb"] * TB_GB
            return float(price + self.price["datasync_enhanced_run"])
        return float(self.price["datasync_gb"] * TB_GB)


def _count(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:,.3g} million"
    return f"{round(number, -2):,.0f}"


def _usd(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(lines: list[Line]) -> str:
    total = sum(line.usd for line in lines)
    rows = [f"| {line.what} | {line.amount} | {_usd(line.usd)} |" for line in lines]
    head = "| | Amount | USD |\n| --- | --- | ---: |\n"
    return head + "\n".join(rows) + f"\n| **together** | | **{_usd(total)}** |\n"


def page(data: dict[str, Any] | None = None) -> str:
    costs = Costs(data or json.loads(DATA.read_text("utf-8")))
    note = (
        "<!-- Written by docs/cost.py from docs/prices.json. Change that, then run: "
        "python -m docs.generate -->\n\n"
    )
    parts = (_beginning, _premises, _transfers, _billion, _compared, _network, _idle, _images)
    return note + _folded("".join(part(costs) for part in parts))


def _folded(text: str) -> str:
    """Break paragraphs at 120 characters. Tables and headings stay as they are."""
    blocks = text.rstrip().split("\n\n")
    return (
        "\n\n".join(
            block
            if block.startswith(("#", "|"))
            else "\n".join(
                textwrap.wrap(block, 120, break_long_words=False, break_on_hyphens=False)
            )
            for block in blocks
        )
        + "\n"
    )


def _beginning(costs: Costs) -> str:
    data = costs.data
    rows = "\n".join(f"| {about} | {price:g} |" for price, about in data["prices"].values())
    return f"""# What a transfer costs on AWS

These costs are calculated by a script from list prices of {data["region"]} ({data["date"]}) and the premises below. They are
not measured on a bill, and nothing here ran in a real account. Check the prices that matter to you: AWS changes them, and
other regions have others. The prices of stores (requests, storage, bytes that leave a region) are the same for every tool;
`dth s3 sync --estimate` shows them for your objects. This page shows what the infrastructure of a transfer adds.

## Prices

| | USD |
| --- | ---: |
{rows}

"""


def _premises(costs: Costs) -> str:
    rows = "\n".join(
        f"| {about} | {value:g} | {source} |"
        for value, about, source in costs.data["premises"].values()
    )
    return f"""## Premises

| | Value | Source |
| --- | ---: | --- |
{rows}

A worker with its disk and address costs {_usd(costs.worker_hour)} USD per hour, the finder {_usd(costs.finder_hour)}.
Networks are counted by the baseline, not by the burst: a worker moves {costs.worker_bytes / 1e6:.0f} MB per second in and out.
A t4g.micro has {costs.premise["burstable_gbit"] * 125:.0f} MB per second, and its CPU credits cost up to {2 * costs.price["credit_hour"]:.2f} USD per hour under full load, more than the machine. So workers are
not burstable by default (`workerTypes`).

"""


def _transfers(costs: Costs) -> str:
    parts = []
    for title, size in (("10 KiB", SMALL), ("50 MB", LARGE)):
        objects = _count(TIB / size)
        gb, storage, recovery = costs.storage_month(size)
        parts.append(
            f"## 1 TiB in objects of {title}: {objects}\n\n{_table(costs.transfer(size))}\n"
            f"S3's own requests, one GET and one PUT per object, cost {_usd(costs.requests(size))} "
            f"USD with any tool that makes no more.\nThe records stay as long as the task: "
            f"{gb:.2g} GB, or {_usd(storage)} USD per month, unless `recordDays` says "
            "[when they may go](how-to/on-aws.md#how-long-records-are-kept). Recovery to any point in time (PITR) "
            f"would be {_usd(recovery)} more, so the tables of records and parts are without by "
            "default: a run compares again what is lost. `pointInTimeRecovery=ALL` switches it on "
            "for all tables, `NONE` off.\n\n"
        )
    return "".join(parts)


def _billion(costs: Costs) -> str:
    number = 1e9
    writes = number * costs.premise["writes_per_object"] / 1e6
    warm = (MOST - NEW_TABLE) * costs.price["dynamodb_warm_unit"]
    gb = number * costs.premise["record_bytes"] / 1e9
    hours = number / costs.premise["listing_rate"] / 3600
    return f"""## 10^9 objects

One machine lists and compares, with as many ranges at the same time as it finds worthwhile. At the rate above, the first run
takes {hours:.0f} hours until all is listed; workers copy meanwhile. A later run that compares everything takes as long, although it
copies little: let events or a list of keys say what is new. The records cost {_usd(writes * costs.price["dynamodb_million_writes"])} USD to write, and {gb:.0f} GB or
{_usd(gb * costs.price["dynamodb_storage"])} USD per month to keep; one GET and one PUT per object cost {_usd(costs.requests(SMALL) * number / (TIB / SMALL))} USD. Several tasks, one for each
prefix, list on several machines.

A new table of records takes {NEW_TABLE:,} writes per second, and about half an hour of load doubles that. A run asks for as many
as write its records within an hour (warm throughput), as far as its machines can use them. That begins with some
{NEW_TABLE * WITHIN / 1e6:.0f} million objects, and costs at most {_usd(warm)} USD, once for a task.

"""


def _compared(costs: Costs) -> str:
    existing = costs.data["existing"]
    small, large = (costs.transfer(size) for size in (SMALL, LARGE))
    ours = [_parts(lines) for lines in (small, large)]
    rows = [
        f"| {name} | {existing['small'][name]:g} | {_usd(ours[0][name])} "
        f"| {existing['large'][name]:g} | {_usd(ours[1][name])} |"
        for name in ours[0]
    ]
    totals = [
        sum(value for name, value in existing[each].items() if name != "requests of S3")
        for each in ("small", "large")
    ]
    rows.append(
        f"| **together** | **{totals[0]:g}** | **{_usd(sum(ours[0].values()))}** "
        f"| **{totals[1]:g}** | **{_usd(sum(ours[1].values()))}** |"
    )
    rows.append(
        f"| requests of S3 | {existing['small']['requests of S3']:g} | "
        f"{_usd(costs.requests(SMALL))} | {existing['large']['requests of S3']:g} | "
        f"{_usd(costs.requests(LARGE))} |"
    )
    basic, enhanced = _usd(costs.datasync(False)), _usd(costs.datasync(True))
    body = "\n".join(rows)
    return f"""## Compared with the existing solution and DataSync

The figures of the existing solution are as published in
{existing["source"]}. The table does not include bytes that leave a region, which any tool pays for. In USD:

| 1 TB in objects of | 10 KB: existing | this one | 50 MB: existing | this one |
| --- | ---: | ---: | ---: | ---: |
{body}

A record is one write instead of two, small objects share messages, and a machine keeps more requests in flight. Objects up
to 64 MiB are copied in one piece. DynamoDB's price fell to half since 2023, so the existing solution's part of it would be
half today.

DataSync has no machines of yours and costs by the GB, whatever the size of objects: {basic} USD for 1 TiB in Basic mode,
{enhanced} with one execution in Enhanced mode, plus the requests that it makes. It is the dearer for large objects, and the
cheaper for very small ones. It copies between fewer stores than this tool.

"""


def _parts(lines: list[Line]) -> dict[str, float]:
    database, queue, workers, finder, rest = (line.usd for line in lines)
    return {
        "DynamoDB": database,
        "SQS": queue,
        "machines": workers + finder,
        "the rest of the infrastructure": rest,
    }


def _network(costs: Costs) -> str:
    nat, endpoint = costs.price["nat_gb"] * TB_GB, costs.price["endpoint_gb"] * TB_GB
    hours = costs.price["nat_hour"] * MONTH, costs.price["endpoint_hour"] * MONTH
    return f"""## Private subnets

A NAT gateway costs {_usd(nat)} USD for 1 TiB that comes in or goes out through it, {_usd(2 * nat)} for both, and {_usd(hours[0])} USD per month
for itself. What goes to S3 and DynamoDB of the same region through gateway endpoints costs nothing. An interface endpoint
costs {_usd(hours[1])} USD per month in each zone, and {_usd(endpoint)} USD for 1 TiB. A VPC without internet needs
[some of them](how-to/aws-network.md), and a store that is reached by PrivateLink one more.

"""


def _idle(costs: Costs) -> str:
    lines = costs.waiting()
    total = sum(line.usd for line in lines)
    machine = costs.worker_hour * MONTH
    hub = costs.resting_look_month + costs.price["secret"]
    return f"""## A month of waiting

A task for objects that waits, with `minCapacity=0`, which is the default:

{_table(lines)}
Most looks at a task that rests end after a few reads. A full look follows every {costs.premise["full_look_minutes"]:.0f} minutes, and whenever a
message, a run, a pause or a change of parameters ends the rest. A test counts the calls. In a hub, one rule and one
function look at all tasks; a task alone has its own. It writes no metrics of its own meanwhile: each would cost {costs.price["custom_metric"]:.2f} USD
per month. A task alone has a dashboard, too ({costs.price["dashboard"]:.0f} USD, after the account's first three).

No machine waits: it leaves when it has had nothing to do for three minutes, and work then waits for a minute or two until
there is one. With `minCapacity=1` a machine stays: {_usd(machine)} USD per month, {_usd(machine + total)} together.

A hub without tasks costs {_usd(hub)} USD per month: its look each minute, and the secret of its certificates. A user who has the
console open all day sends some ten thousand requests: 0.04 USD of AppSync and as much of Lambda. For the traffic of a
console, CloudFront is free. Tables are billed by use.

"""


def _images(costs: Costs) -> str:
    hour = costs.price["fargate_hour"] + costs.price["address_hour"]
    plan = 60 * costs.price["lambda_gb_second"]
    run = 10 * 0.1 * hour
    return f"""## Images

A run that finds nothing to copy uses one function of 1 GiB for as long as the registries take to respond, and five steps of
a state machine: {plan:.4f} USD for a listing of one minute. Copying adds up to ten containers on Fargate (arm64), each
{hour:.4f} USD per hour with its address, billed from the pull of their image and for at least one minute. A run with 100
images that take 30 seconds each needs ten containers for some six minutes: {run:.2f} USD. The existing solution starts one
container per image instead. Building the image in the account takes about five minutes of CodeBuild: {5 * costs.price["build_minute"]:.3f} USD per version.
"""
