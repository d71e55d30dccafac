"""Measurements of a task and of the hub."""

from dth.hub import monitoring
from dth.hub.api.answers import answers
from dth.hub.api.door import Call, query
from dth.hub.model import Progress, Task
from dth.hub.phase import Phase, phase
from dth.hub.ports import TaskQuery

AT_A_TIME = 1000  # tasks per read


@answers("DataSerie")
class DataSerie:
    name: str
    data: list[float | None]


@answers("GraphXaxis")
class GraphXaxis:
    categories: list[int]


@answers("GetMetricHistoryDataResponse")
class MetricHistory:
    series: list[DataSerie]
    xaxis: GraphXaxis


@answers("ActivityPoint")
class ActivityPoint:
    at: int
    bytes: float
    objects: float
    failed: float


@answers("HubActivity")
class HubActivity:
    rate: float
    active: int
    waiting: int
    workers: int
    bytes: float
    objects: float
    failed: float
    points: list[ActivityPoint]


@query()
async def get_metric_history_data(
    call: Call, *, id: str, graph_name: str, start_time: str | None = None,
    end_time: str | None = None,
    period: int | None = None,
) -> MetricHistory:  # fmt: skip
    await call.ports.tasks.get(id)
    found = await monitoring.history(
        call.ports.metrics, id, graph_name, start_time, end_time, period
    )
    series = [DataSerie(name, values) for name, values in found.series.items()]
    return MetricHistory(series, GraphXaxis(found.times))


@query()
async def hub_activity(
    call: Call, *, hours: int | None = 24, since: str | None = None
) -> HubActivity:
    done = await monitoring.activity(call.ports.metrics, hours, since)
    running = await _running(call)
    summaries = [task.summary for task in running]
    return HubActivity(
        rate=sum(summary.rate for summary in summaries),
        active=sum(phase(task) is not Phase.WAITING for task in running),
        waiting=sum(summary.waiting for summary in summaries),
        workers=sum(summary.workers for summary in summaries),
        bytes=sum(done.bytes),
        objects=sum(done.objects),
        failed=sum(done.failed),
        points=[
            ActivityPoint(*point)
            for point in zip(done.times, done.bytes, done.objects, done.failed, strict=True)
        ],
    )


async def _running(call: Call) -> list[Task]:
    running: list[Task] = []
    page = 1
    while True:
        wanted = TaskQuery(
            progress=(Progress.STARTING, Progress.IN_PROGRESS), page=page, count=AT_A_TIME
        )
        found, total = await call.ports.tasks.find(wanted)
        running += found
        if len(found) < AT_A_TIME or len(running) >= total:
            return running
        page += 1
