"""What the processes of a task said."""

from dth.hub.api.door import Answer, Call, query
from dth.hub.api.tasks import LOG_GROUP
from dth.hub.api.text import at_least_one, milliseconds, seconds, within

MAX_STREAMS = 100
MAX_EVENTS = 10_000


@query()
async def list_log_streams(
    call: Call, *, log_group_name: str | None = None, log_stream_name_prefix: str | None = None, page: int = 1,
    count: int = 20,
) -> Answer:  # fmt: skip
    task = await _task_of_group(call, log_group_name)
    streams = await call.ports.logs.streams(task, log_stream_name_prefix or "")
    first = (at_least_one("page", page) - 1) * within("count", count, MAX_STREAMS)
    return {
        "logStreams": [
            {
                "logStreamName": stream.name,
                "creationTime": milliseconds(stream.created),
                "firstEventTimestamp": milliseconds(stream.first),
                "lastEventTimestamp": milliseconds(stream.last),
                "lastIngestionTime": milliseconds(stream.last),
                "uploadSequenceToken": None,
                "arn": None,
                "storedBytes": min(stream.bytes, 2**31 - 1),
            }
            for stream in streams[first : first + count]
        ],
        "total": len(streams),
    }


@query()
async def get_log_events(
    call: Call, *, limit: int = 100, log_group_name: str | None = None, log_stream_name: str | None = None,
    next_token: str | None = None, search: str | None = None, start_time: str | None = None,
    end_time: str | None = None,
) -> Answer:  # fmt: skip
    task = await _task_of_group(call, log_group_name)
    found = await call.ports.logs.events(
        task,
        log_stream_name or "",
        within("limit", limit, MAX_EVENTS),
        next_token or "",
        search or "",
        seconds("startTime", start_time),
        seconds("endTime", end_time),
    )
    return {
        "logEvents": [
            {
                "timestamp": milliseconds(event.at),
                "message": event.message,
                "ingestionTime": milliseconds(event.at),
            }
            for event in found.events
        ],
        "nextForwardToken": found.forward,
        "nextBackwardToken": found.backward,
    }


async def _task_of_group(call: Call, group: str | None) -> str:
    task = await call.ports.tasks.get((group or "").removeprefix(LOG_GROUP))
    return task.id
