"""What the hub knows of tasks that say lines."""

from collections.abc import Sequence

from dth.core import shared_parameters as shared
from dth.core.errors import UsageError
from dth.core.parameters import TaskParameters, parameter
from dth.core.plugin import AwsTask, Ends, Plugin
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Page, Record
from dth.core.ports.runs import Counts


class EchoParameters(TaskParameters):
    """What to say, and when."""

    lines: tuple[str, ...] = parameter(
        (), "source", "Lines", "What is to be said, one line each.", what=True, required=True
    )
    voice: str = parameter("plain", "destination", "Voice", "Who says it.", what=True)
    schedule_rate: str = shared.schedule_rate("5 minutes")
    ec2_cron_expression: str = shared.cron_expression("")
    schedule_time_zone: str = shared.schedule_time_zone()
    transfer_window: str = shared.transfer_window()


class EchoPlugin(Plugin):
    """Tasks that say lines."""

    type = "ECHO"
    things = "lines"
    parameters = EchoParameters
    processes = "dth_echo.processes"
    aws = AwsTask("echo", ("objects", "state"), executes_runs=True)

    def check(self, parameters: EchoParameters) -> None:
        for side in ("source", "destination"):
            self.check_side(parameters, side)

    def check_side(self, parameters: EchoParameters, side: str) -> None:
        if side == "source" and not parameters.lines:
            raise UsageError("lines: there is nothing to say")

    def ends(self, parameters: EchoParameters) -> Ends:
        voice = f"voice {parameters.voice}"
        return Ends(f"{len(parameters.lines)} lines", voice, voice)

    async def again(
        self, platform: Platform, parameters: EchoParameters, run: int, failed: Sequence[Record]
    ) -> Page:
        return page_of(run, [record.key for record in failed])


def page_of(run: int, lines: Sequence[str]) -> Page:
    """The lines as messages of a run."""
    return Page(
        Counts(listed=len(lines)),
        enqueued=[
            Enqueued(line, len(line), "", f"{run}.{number}") for number, line in enumerate(lines)
        ],
        messages=[
            Outgoing(f"{run}.{number}", f"{run} {line}") for number, line in enumerate(lines)
        ],
    )


PLUGIN = EchoPlugin()
