"""The output of a task's functions, machines and containers, from CloudWatch Logs: one log group
per task."""

import json
import re
from typing import Any

from dth.core.errors import NotFound, UsageError
from dth.hub.ports import LogEvent, LogLevel, LogPage, LogStream, level_of
from dth.platforms.aws.client import Aws, Refused

MOST_EVENTS = 10_000
# Pages of CloudWatch that one search reads.
PAGES = 20
FOUND = "s/"  # prefix of the page tokens of a search
END = "s/end"
# All streams of a group are read from this many seconds before the newest event.
RECENT = 3600.0
# How a function of AWS Lambda writes a level.
BRACKETED = re.compile(r"\[([A-Z]+)\]")


class AwsLogs:
    """`hub.ports.Logs`. A search starts at the oldest event, as in CloudWatch, and its pages only
    go forward. So do pages of all streams; without a start, they begin shortly before the newest
    event. `prefix`: of the names of log groups."""

    def __init__(self, aws: Aws, prefix: str) -> None:
        self._aws = aws
        self._prefix = prefix

    def group(self, task: str) -> str:
        return f"{self._prefix}/{task}"

    async def streams(self, task: str, prefix: str = "") -> list[LogStream]:
        found: list[LogStream] = []
        arguments: dict[str, Any] = {"logGroupName": self.group(task)}
        if prefix:
            arguments["logStreamNamePrefix"] = prefix
        while True:
            try:
                answer = await self._aws.call("logs", "describe_log_streams", **arguments)
            except Refused as error:
                if error.code != "ResourceNotFoundException":
                    raise
                return []
            found += map(_stream, answer["logStreams"])
            if "nextToken" not in answer:
                return sorted(found, key=lambda stream: (-stream.last, stream.name))
            arguments["nextToken"] = answer["nextToken"]

    async def events(
        self,
        task: str,
        stream: str | None,
        limit: int = 100,
        token: str = "",
        search: str = "",
        start: float = 0.0,
        end: float = 0.0,
        level: LogLevel | None = None,
        prefix: str = "",
    ) -> LogPage:
        """Raises NotFound, and UsageError for an invalid token or limit."""
        if not 1 <= limit <= MOST_EVENTS:
            raise UsageError(f"limit: give 1 to {MOST_EVENTS}")
        arguments: dict[str, Any] = {"logGroupName": self.group(task), "limit": limit}
        if stream is None:
            streams = await self.streams(task, prefix)
            if not streams:
                return LogPage([], END, "")
            if prefix:
                arguments["logStreamNamePrefix"] = prefix
            start = start or max(stream.last for stream in streams) - RECENT
        if start:
            arguments["startTime"] = int(start * 1000)
        if end:
            arguments["endTime"] = int(end * 1000)
        try:
            if stream is not None and not search and level is None:
                return await self._page(arguments, stream, token)
            if stream is not None:
                arguments["logStreamNames"] = [stream]
            return await self._search(arguments, token, search.casefold(), level)
        except Refused as error:
            if error.code == "ResourceNotFoundException":
                raise NotFound(f"There is no log stream {(stream or '')[:50]!r}") from None
            if error.code == "InvalidParameterException" and token:
                raise UsageError(
                    f"nextToken: {token[:50]!r} is not one that a page of this log had"
                ) from None
            raise

    async def _page(self, arguments: dict[str, Any], stream: str, token: str) -> LogPage:
        if token:
            arguments["nextToken"] = token
        answer = await self._aws.call(
            "logs", "get_log_events", **arguments, logStreamName=stream, startFromHead=False
        )
        events = [_event(each, stream) for each in answer["events"]]
        return LogPage(events, answer["nextForwardToken"], answer["nextBackwardToken"])

    async def _search(
        self, arguments: dict[str, Any], token: str, text: str, level: LogLevel | None
    ) -> LogPage:
        """Filters here, because case does not matter here but does in CloudWatch."""
        if token == END:
            return LogPage([], END, "")
        if token:
            arguments["nextToken"] = token.removeprefix(FOUND)
        events: list[LogEvent] = []
        for _ in range(PAGES):
            answer = await self._aws.call("logs", "filter_log_events", **arguments)
            # Not every service that speaks this API knows the prefix.
            prefix = arguments.get("logStreamNamePrefix", "")
            found = (
                _event(each, each["logStreamName"])
                for each in answer["events"]
                if each["logStreamName"].startswith(prefix)
            )
            events += (
                event
                for event in found
                if text in event.message.casefold() and event.is_at_least(level)
            )
            if "nextToken" not in answer:
                return LogPage(events, END, "")
            arguments["nextToken"] = answer["nextToken"]
            if events:
                break
        return LogPage(events, f"{FOUND}{answer['nextToken']}", "")


def _stream(told: dict[str, Any]) -> LogStream:
    created = told.get("creationTime", 0) / 1000
    return LogStream(
        told["logStreamName"],
        created,
        told.get("firstEventTimestamp", 0) / 1000 or created,
        told.get("lastEventTimestamp", 0) / 1000 or created,
        told.get("storedBytes", 0),
    )


def _event(told: dict[str, Any], stream: str) -> LogEvent:
    """Remove characters that could move a cursor or break the line."""
    text = told["message"].rstrip()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return LogEvent(told["timestamp"] / 1000, text, stream, _level(text))


def _level(text: str) -> LogLevel | None:
    """Of JSON as the engine writes it, or of a function's line."""
    if bracketed := BRACKETED.match(text):
        return level_of(bracketed[1])
    if not text.startswith("{"):
        return None
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return level_of(entry.get("level")) if isinstance(entry, dict) else None
