"""The output of a task's processes."""

from typing import Self

from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, query
from dth.hub.api.tasks import LOG_GROUP
from dth.hub.api.text import MAX_INT, at_least_one, milliseconds, seconds, within
from dth.hub.ports import LogEvent, LogLevel, LogStream

MAX_STREAMS = 100
MAX_EVENTS = 10_000


@answers("LogStream")
class LogStreamAnswer:
    log_stream_name: str
    creation_time: str | None
    first_event_timestamp: str | None
    last_event_timestamp: str | None
    last_ingestion_time: str | None
    # Only meaningful on AWS; clients of the existing solution request them.
    upload_sequence_token: None
    arn: None
    stored_bytes: int

    @classmethod
    def of(cls, stream: LogStream) -> Self:
        return cls(
            log_stream_name=stream.name,
            creation_time=milliseconds(stream.created),
            first_event_timestamp=milliseconds(stream.first),
            last_event_timestamp=milliseconds(stream.last),
            last_ingestion_time=milliseconds(stream.last),
            upload_sequence_token=None,
            arn=None,
            stored_bytes=min(stream.bytes, MAX_INT),
        )


@answers("ListLogStreamsResponse")
class LogStreamPage:
    log_streams: list[LogStreamAnswer]
    total: int


@answers("LogEvent")
class LogEventAnswer:
    timestamp: str | None
    message: str
    ingestion_time: str | None
    log_stream_name: str

    @classmethod
    def of(cls, event: LogEvent) -> Self:
        at = milliseconds(event.at)
        return cls(at, event.message, at, event.stream)


@answers("GetLogEventsResponse")
class LogEventPage:
    log_events: list[LogEventAnswer]
    next_forward_token: str
    next_backward_token: str


@query()
async def list_log_streams(
    call: Call, *, log_group_name: str | None = None, log_stream_name_prefix: str | None = None,
    page: int = 1,
    count: int = 20,
) -> LogStreamPage:  # fmt: skip
    task = await _task_of_group(call, log_group_name)
    streams = await call.ports.logs.streams(task, log_stream_name_prefix or "")
    first = (at_least_one("page", page) - 1) * within("count", count, MAX_STREAMS)
    shown = [LogStreamAnswer.of(stream) for stream in streams[first : first + count]]
    return LogStreamPage(shown, len(streams))


@query()
async def get_log_events(
    call: Call, *, limit: int = 100, log_group_name: str | None = None,
    log_stream_name: str | None = None,
    next_token: str | None = None, search: str | None = None, start_time: str | None = None,
    end_time: str | None = None, level: str | None = None,
    log_stream_name_prefix: str | None = None,
) -> LogEventPage:  # fmt: skip
    task = await _task_of_group(call, log_group_name)
    found = await call.ports.logs.events(
        task,
        log_stream_name,
        within("limit", limit, MAX_EVENTS),
        next_token or "",
        search or "",
        seconds("startTime", start_time),
        seconds("endTime", end_time),
        LogLevel(level) if level else None,
        log_stream_name_prefix or "",
    )
    return LogEventPage(
        [LogEventAnswer.of(event) for event in found.events], found.forward, found.backward
    )


async def _task_of_group(call: Call, group: str | None) -> str:
    task = await call.ports.tasks.get((group or "").removeprefix(LOG_GROUP))
    return task.id
