"""The rules of a task's life: `decide` derives the next actions from the state of the task, and
from nothing else.

`decide` takes a `View` of one task and returns actions. Both are plain data: this module does no
I/O, keeps no state and reads no clock, so the same view always gives the same actions. A platform
builds the view, carries out the actions in order, and looks again. Each action leads to a view in
which that action is no longer due.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dth.core import redrive
from dth.core.plugins import plugin
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind, RunState
from dth.hub.model import ErrorCode, Progress, ScheduleType, Task
from dth.hub.notifications import NotifiedEvent
from dth.hub.phase import NO_PLACE, OUTSIDE_WINDOW
from dth.hub.reading import with_retries
from dth.hub.schedule import FixedRate, Schedule, read_schedule
from dth.hub.time_zones import read_zone
from dth.hub.windows import HORIZON, Timetable, Window

# The most seconds by which a scheduled run may be late before it counts as missed.
LATE = 300.0
# Seconds after the end of a run during which notifications about it are sent.
RECENT = 3600.0
# The most seconds by which the clocks of a hub and of a stack may differ.
SKEW = 5.0
NOTHING = Depth(0, 0, 0)
ALWAYS = Window()

CANNOT_BEGIN = (
    "a run is due, but the maximum number of tasks is already running; it starts when one of "
    "them ends"
)
LEFT_OUT = "the previous listing is still in progress; this run is skipped"
WHILE_PAUSED = "a run was due while the task was paused; it starts when the task resumes"
WAITED = "the maximum number of tasks was running"
DOWN = "the hub did not run"
NOT_BEGUN = "the schedule of its stack did not start it"

# -------------------------------------------------------------------------------------------- views


@dataclass(frozen=True, slots=True)
class Terms:
    """What a task's parameters say about its life. Parsed once per version of the task."""

    schedule: Schedule | None = None
    window: Window = ALWAYS
    budget: float | None = None  # USD
    things: str = "objects"  # what it moves


UNBOUND = Terms()


def terms_of(task: Task) -> Terms:
    """Raises UsageError for invalid parameters."""
    chosen, parameters = plugin(task.type), task.model
    return Terms(
        schedule_of(task),
        Window.parse(parameters.transfer_window, read_zone(parameters.schedule_time_zone)),
        chosen.budget(parameters),
        chosen.things,
    )


@dataclass(frozen=True, slots=True)
class View:
    """The state of a task at one moment. A field that a platform did not read, or does not know,
    keeps its default."""

    task: Task
    now: float
    terms: Terms = UNBOUND
    # The newest runs, newest first. None: the task's records were not opened.
    runs: Sequence[Run] | None = None
    depth: Depth = NOTHING
    # Why the task's records say that no process may work.
    paused: str = ""
    # Why the task cannot be set up, or cannot continue.
    refusal: str = ""
    # A problem that the platform reports, such as a change that it could not make.
    trouble: str = ""
    # A listing is in progress; no other listing can begin.
    listing: bool = False
    # The task waits for one of the places for tasks that may work at the same time.
    in_line: bool = False
    # The task got its place only after a wait.
    waited: bool = False
    # Since when the hub watches what is due.
    began: float = 0.0
    # A stack of the task's own does the work and begins the scheduled runs.
    by_stack: bool = False
    # The keys of the notifications that were sent already.
    told: frozenset[str] = frozenset()


# ------------------------------------------------------------------------------------------ actions


@dataclass(frozen=True, slots=True)
class SetUp:
    """Make what the task needs to work. It is IN_PROGRESS afterwards."""


@dataclass(frozen=True, slots=True)
class OpenRecords:
    """Read the task's runs and queue, and decide again: `hub.db` alone does not say whether there
    is work."""


@dataclass(frozen=True, slots=True)
class SetNextRun:
    """Store when the schedule wants the next run."""

    at: float


@dataclass(frozen=True, slots=True)
class Say:
    """Store in the task why it does nothing, or what is wrong with it. "": nothing is wrong."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Notify the subscribers. Of one task and event, each value of `once` is sent once."""

    event: NotifiedEvent
    text: str
    once: str

    @property
    def key(self) -> str:
        """Identifies the notification, so that it is sent only once."""
        return f"{self.event} {self.once}"


@dataclass(frozen=True, slots=True)
class RetryFailed:
    """Send the next failed items again. If this was requested for all, begin with it, and clear the
    request."""


@dataclass(frozen=True, slots=True)
class BeginRun:
    """Begin a run, and clear the request for it. `note`: added to the run, unless "". `next_run`:
    when the schedule wants the following run; None leaves it unchanged."""

    note: str = ""
    next_run: float | None = None


@dataclass(frozen=True, slots=True)
class Continue:
    """Work is in progress: keep the task's processes running."""


@dataclass(frozen=True, slots=True)
class Idle:
    """There is nothing to do until the task changes or its schedule wants a run."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Run no process of the task until this time; None: until the task changes."""

    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Continue what was held."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the task for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    """End the task in ERROR, with this reason and code."""

    reason: str
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Finish:
    """End a one-time task that has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the task's processes, discard its uploads and cancel pending objects. It is STOPPED
    afterwards, or deleted if a user asked for this."""


@dataclass(frozen=True, slots=True)
class TakeDown:
    """Remove what was set up for the task; it is no longer needed."""


Action = (
    SetUp | OpenRecords | SetNextRun | Say | Notify | RetryFailed | BeginRun | Continue | Idle | Hold
    | Release | Pause | Fail | Finish | Stop | TakeDown
)  # fmt: skip

# -------------------------------------------------------------------------------------------- rules


def decide(view: View) -> list[Action]:
    """What to do now, in this order. Leaves out notifications that were sent before, or that an
    earlier action sends."""
    told = set(view.told)
    actions: list[Action] = []
    for action in _decide(view):
        if not isinstance(action, Notify):
            actions.append(action)
        elif action.key not in told:
            told.add(action.key)
            actions.append(action)
    return actions


def _decide(view: View) -> list[Action]:
    match view.task.progress:
        case Progress.STARTING:
            return _start(view)
        case Progress.IN_PROGRESS:
            return _go_on(view)
        case Progress.PAUSED:
            return [Hold(view.task.reason)]
        case Progress.STOPPING:
            return [Stop()]
        case Progress.STOPPED | Progress.DONE | Progress.ERROR:
            return [TakeDown()]


def _start(view: View) -> list[Action]:
    """A task that continues after a pause still knows when its schedule wanted a run."""
    if view.refusal:
        return _fail(view)
    if is_due(view.task, view.now) and not _has_begun(view) and view.now >= _late_at(view):
        return [
            Notify(NotifiedEvent.MISSED_SCHEDULE, WHILE_PAUSED, _once_a_run(view.task)),
            SetUp(),
        ]
    return [SetUp()]


def _go_on(view: View) -> list[Action]:
    if view.refusal:
        return _fail(view)
    actions = _set_next_run(view)
    window = view.terms.window
    if not window.is_open(view.now):
        until = window.next_change(view.now) or view.now + HORIZON
        return [*actions, *_say(view, OUTSIDE_WINDOW), Hold(OUTSIDE_WINDOW, until)]
    if view.paused == OUTSIDE_WINDOW:
        actions.append(Release())
    elif view.paused:
        return [*actions, *_pause(view, view.paused)]
    if text := _budget_reached(view):
        return [*actions, *_pause(view, text)]
    begin = _what_is_due(view)
    actions += _what_ended(view)
    if view.in_line:
        actions += _say(view, NO_PLACE)
        if is_due(view.task, view.now) and view.now >= _late_at(view):
            actions.append(
                Notify(NotifiedEvent.MISSED_SCHEDULE, CANNOT_BEGIN, _once_a_run(view.task))
            )
    elif view.runs is not None and BeginRun not in map(type, begin):
        actions += _say(view, view.trouble or _why_last_failed(view))
    actions += begin
    if BeginRun in map(type, begin) or RetryFailed in map(type, begin):
        return actions
    return [*actions, *_what_is_left(view)]


def _what_is_left(view: View) -> list[Action]:
    task = view.task
    if view.runs is None:
        return [OpenRecords()]
    if _is_under_way(view) or task.run_requested or (view.by_stack and not view.runs):
        return [Continue()]
    if task.schedule_type is not ScheduleType.ONE_TIME:
        return [Idle()]
    run = _last_listing(view)
    if run and run.state is RunState.FAILED:
        return [Fail(run.error, ErrorCode.FINDER_ERROR)]
    done = run.counts.done if run else 0
    text = f"{done} transferred, {_lost(run) if run else 0} failed"
    return [Finish(), Notify(NotifiedEvent.TASK_DONE, text, f"{task.version}")]


def _fail(view: View) -> list[Action]:
    told = Notify(NotifiedEvent.TASK_ERROR, view.refusal, f"version {view.task.version}")
    return [Fail(view.refusal, ErrorCode.CFN_ERROR), told]


def _pause(view: View, reason: str) -> list[Action]:
    return [
        Pause(reason),
        Notify(NotifiedEvent.TASK_PAUSED, reason, f"version {view.task.version}"),
    ]


def _say(view: View, reason: str) -> list[Action]:
    return [Say(reason)] if reason != view.task.reason else []


# -------------------------------------------------------------------------------------- what is due


def is_due(task: Task, now: float) -> bool:
    """Whether the schedule wants a run."""
    return bool(task.next_run and task.next_run <= now)


def _set_next_run(view: View) -> list[Action]:
    """Set it if it is unknown, or later than the schedule says because the clock was ahead for a
    while."""
    return (
        [SetNextRun(_upcoming(view))] if _is_unset(view.task, view.terms.schedule, view.now) else []
    )


def _what_is_due(view: View) -> list[Action]:
    """Runs and retries that a user or the schedule requested."""
    task = view.task
    retry = task.redrive_requested or redrive.are_left(view.runs or ())
    actions: list[Action] = [RetryFailed()] if retry else []
    due, asked = is_due(task, view.now), task.run_requested
    if due and view.by_stack and _has_begun(view):
        actions.append(SetNextRun(_upcoming(view)))
        due = False
    elif due and view.by_stack:
        # Until then, the stack is expected to begin the run.
        due = view.now >= _late_at(view)
    if not due and not asked:
        return actions
    if _is_listing(view):
        # A run that a user requested begins after the current listing, and also serves as the
        # scheduled run. With a stack, the listing in progress counts as the requested run.
        if asked:
            return [*actions, BeginRun()] if view.by_stack else actions
        return [
            *actions,
            Notify(NotifiedEvent.MISSED_SCHEDULE, LEFT_OUT, _once_a_run(task)),
            SetNextRun(_upcoming(view)),
        ]
    late = _why_late(view) if due else ""
    actions.append(BeginRun(late, _upcoming(view) if due else None))
    if late:
        actions.append(Notify(NotifiedEvent.MISSED_SCHEDULE, late, _once_a_run(task)))
    return actions


def _is_listing(view: View) -> bool:
    """Whether a listing is in progress, which prevents another one. For a stack, the state of its
    run says so."""
    listing = (
        run.kind is RunKind.SYNC and run.state is RunState.LISTING for run in view.runs or ()
    )
    return view.listing or (view.by_stack and any(listing))


def _has_begun(view: View) -> bool:
    """Whether the stack has begun the run that is due. A stack counts a rate from a different
    moment than the hub."""
    schedule = view.terms.schedule
    since = view.task.next_run - (schedule.seconds if isinstance(schedule, FixedRate) else SKEW)
    return any(run.kind is RunKind.SYNC and run.started >= since for run in view.runs or ())


def _wanted(view: View) -> float:
    """The earliest time at which the due run could begin, with the window open."""
    window, at = view.terms.window, view.task.next_run
    return at if window.is_open(at) else window.next_change(at) or at


def _late_at(view: View) -> float:
    """When the due run counts as missed: after `LATE` seconds, or when the next run is due if that
    is earlier."""
    schedule, wanted = view.terms.schedule, _wanted(view)
    following = schedule.next_after(wanted, view.task.created) if schedule else None
    return min(wanted + LATE, following or wanted + LATE)


def _why_late(view: View) -> str:
    """Why a run begins late; "" if no notification is needed."""
    if view.now < _late_at(view):
        return ""
    if view.waited:
        why = WAITED
    elif _wanted(view) < view.began:
        why = DOWN
    elif view.by_stack:
        why = NOT_BEGUN
    else:
        return ""
    seconds = round(view.now - view.task.next_run)
    return f"this run began {seconds} seconds late: {why}"


def _once_a_run(task: Task) -> str:
    return f"{task.next_run:.0f}"


def _upcoming(view: View) -> float:
    return _next_run(view.task, view.terms.schedule, view.now)


def next_change(view: View) -> float | None:
    """When `decide` will return something else only because time has passed. None: never, as far as
    is known."""
    moments = [view.terms.window.next_change(view.now)]
    if view.task.next_run:
        moments += [view.task.next_run, _late_at(view)]
    return min((each for each in moments if each and each > view.now), default=None)


# ---------------------------------------------------------------------------------------- schedules


def schedule_of(task: Task) -> Schedule | None:
    """When runs begin; None for a one-time task. Raises UsageError."""
    if task.schedule_type is ScheduleType.ONE_TIME:
        return None
    parameters = task.model
    return read_schedule(
        parameters.schedule_rate, parameters.ec2_cron_expression, parameters.schedule_time_zone
    )


def timetable_of(task: Task) -> tuple[Timetable, int | None]:
    """The bandwidth caps by time, and the cap at other times in bytes per second; None: no cap.
    Raises UsageError."""
    text, usual = plugin(task.type).bandwidth(task.model)
    return Timetable.parse(text, read_zone(task.model.schedule_time_zone)), usual


def next_run(task: Task, now: float) -> float:
    """When the schedule begins the next run; 0 for never."""
    return _next_run(task, schedule_of(task), now)


def is_unset(task: Task, now: float) -> bool:
    """Whether the next run is not set, or is later than the schedule says because the clock was
    ahead for a while."""
    return _is_unset(task, schedule_of(task), now)


def _next_run(task: Task, schedule: Schedule | None, now: float) -> float:
    return (schedule.next_after(now, task.created) or 0.0) if schedule else 0.0


def _is_unset(task: Task, schedule: Schedule | None, now: float) -> bool:
    upcoming = _next_run(task, schedule, now)
    return bool(upcoming) and (not task.next_run or task.next_run > upcoming)


# ------------------------------------------------------------------------------ the state of a task


def _is_under_way(view: View) -> bool:
    depth = view.depth
    waiting = depth.visible + depth.in_flight + depth.delayed > 0
    return waiting or any(run.is_open for run in view.runs or ())


def _budget_reached(view: View) -> str:
    """Why the task pauses; "" if it continues. A task continues if it has nothing left to do, or if
    its cost is unknown."""
    budget, spent, depth = view.terms.budget, view.task.spent, view.depth
    has_work = depth.visible + depth.in_flight + depth.delayed > 0 or any(
        run.is_open and not run.is_settled for run in view.runs or ()
    )
    if budget is None or spent < budget or not has_work:
        return ""
    return f"the budget of ${budget:g} is reached (estimated ${spent:.4f}); raise it and resume"


def _last_listing(view: View) -> Run | None:
    """The newest listing in its current state, including later retries of its objects."""
    runs = view.runs or ()
    found = next((run for run in runs if run.kind is RunKind.SYNC), runs[0] if runs else None)
    return with_retries(found, runs) if found else None


def _why_last_failed(view: View) -> str:
    """Why the last run of a task with a schedule failed. Shown until another run begins."""
    run = _failed_listing(view)
    once = view.task.schedule_type is ScheduleType.ONE_TIME
    return f"run {run.id} failed: {run.error}" if run and not once else ""


def _failed_listing(view: View) -> Run | None:
    """The newest listing, if it failed for good: one that failed may be restarted while a listing
    is in progress."""
    run = _last_listing(view)
    return run if run and run.state is RunState.FAILED and run.error and not view.listing else None


def _what_ended(view: View) -> list[Action]:
    """Leaves out runs that ended more than `RECENT` seconds ago: their notifications were sent."""
    told: list[Action] = []
    failed = _failed_listing(view)
    for run in view.runs or ():
        if view.now - run.ended > RECENT:
            continue
        if failed and run.id == failed.id:
            told.append(Notify(NotifiedEvent.TASK_ERROR, run.error, f"{run.id}"))
        if not run.is_open and (lost := _lost(run)):
            text = f"{lost} {view.terms.things} failed in run {run.id}"
            told.append(Notify(NotifiedEvent.DEAD_LETTERS, text, f"{run.id} {lost}"))
    return told


def _lost(run: Run) -> int:
    return run.counts.failed + run.counts.delete_failed
