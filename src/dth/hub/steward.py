"""The rules of a task's life: what happens next, decided from how the task stands and from nothing else.

`decide` takes a `View` of one task and returns actions. Both are plain data: nothing here opens, waits, remembers or
asks a clock, so the same view gives the same actions. A platform makes the view, carries the actions out in their
order, and looks again. Each action leads to a view in which it is not due any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dth.core.plugins import plugin
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind, RunState
from dth.hub.model import ErrorCode, Progress, ScheduleType, Task
from dth.hub.notifications import Event
from dth.hub.parameters import read_parameters
from dth.hub.phase import NO_PLACE, OUTSIDE_WINDOW
from dth.hub.reading import with_retries
from dth.hub.schedule import HORIZON, Rate, Schedule, Window

LATE = 300.0  # seconds after which a run that the schedule wanted counts as missed, at most
RECENT = 3600.0  # seconds after its end for which a run is looked at for something to tell
SKEW = 5.0  # seconds by which the clocks of a hub and of a stack may differ
NOTHING = Depth(0, 0, 0)
ALWAYS = Window()

CANNOT_BEGIN = "the run that is due cannot begin: as many tasks as may work at once do; it waits for a place"
LEFT_OUT = "the listing before is not at its end; this one is left out"
WHILE_PAUSED = "the schedule wanted a run while the task was paused; it begins as soon as the task may work"
WAITED = "it waited for a place"
DOWN = "the hub did not run"
NOT_BEGUN = "the schedule of its stack did not begin it"

# ------------------------------------------------------------------------------------------------------ views


@dataclass(frozen=True, slots=True)
class Terms:
    """What a task's parameters say of its life: read once for each version of the task."""

    schedule: Schedule | None = None
    window: Window = ALWAYS
    budget: float | None = None  # USD
    things: str = "objects"  # what it moves


UNBOUND = Terms()


def terms_of(task: Task) -> Terms:
    """Raises UsageError for parameters that cannot be."""
    chosen, parameters = plugin(task.type), read_parameters(task.type, task.parameters)
    return Terms(
        schedule_of(task), Window.parse(parameters.transfer_window), chosen.budget(parameters), chosen.things
    )


@dataclass(frozen=True, slots=True)
class View:
    """A task as one look found it. What a platform did not look at, or cannot tell, is left as it is here."""

    task: Task
    now: float
    terms: Terms = UNBOUND
    # The newest ones, newest first. None: the task's records were not opened.
    runs: Sequence[Run] | None = None
    depth: Depth = NOTHING
    # Why its records say that no process may work.
    paused: str = ""
    # Why it cannot be set up, or not go on.
    refusal: str = ""
    # What the platform says in the task: such as a change that it could not make.
    trouble: str = ""
    # A listing is under way, and none can begin beside it.
    listing: bool = False
    # It waits for its turn among the tasks that may work at once.
    in_line: bool = False
    # It has had its turn only after a while.
    waited: bool = False
    # Since when somebody looks at what is due.
    began: float = 0.0
    # A stack of its own works for the task and begins the runs that the schedule wants.
    by_stack: bool = False
    # The keys of what was told already.
    told: frozenset[str] = frozenset()


# ---------------------------------------------------------------------------------------------------- actions


@dataclass(frozen=True, slots=True)
class SetUp:
    """Make what the task needs to work; then it is IN_PROGRESS."""


@dataclass(frozen=True, slots=True)
class OpenRecords:
    """Look at its runs and its queue, and decide anew: `hub.db` alone does not say whether there is work."""


@dataclass(frozen=True, slots=True)
class SetNextRun:
    """Write down when the schedule wants the next run."""

    at: float


@dataclass(frozen=True, slots=True)
class Say:
    """Write into the task why it does nothing, or what is wrong with it; "": nothing is."""

    reason: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell whoever wants to hear of it. `once`: what is the same again, of this task and event."""

    event: Event
    text: str
    once: str

    @property
    def key(self) -> str:
        return f"{self.event} {self.once}"


@dataclass(frozen=True, slots=True)
class RetryFailed:
    """Send what failed again, and forget that this was asked for."""


@dataclass(frozen=True, slots=True)
class BeginRun:
    """Begin a run, and forget that it was asked for. `note`: for the run, unless "". `next_run`: when the schedule
    wants the one after it; None: as before."""

    note: str = ""
    next_run: float | None = None


@dataclass(frozen=True, slots=True)
class Continue:
    """Something is under way and goes on: its processes work."""


@dataclass(frozen=True, slots=True)
class Idle:
    """There is nothing to do until the task changes, or its schedule wants a run."""


@dataclass(frozen=True, slots=True)
class Hold:
    """No process of it works until then; None: until the task changes."""

    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """What was held goes on."""


@dataclass(frozen=True, slots=True)
class Pause:
    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    reason: str
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Finish:
    """A one-time task has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End its processes, throw its uploads away, cancel what is pending; then it is STOPPED."""


@dataclass(frozen=True, slots=True)
class TakeDown:
    """Nothing that was set up for it is needed any more."""


Action = (
    SetUp | OpenRecords | SetNextRun | Say | Notify | RetryFailed | BeginRun | Continue | Idle | Hold
    | Release | Pause | Fail | Finish | Stop | TakeDown
)  # fmt: skip

# ------------------------------------------------------------------------------------------------------ rules


def decide(view: View) -> list[Action]:
    """What is to be done now, in this order. What was told, or is told by an earlier action, is left out."""
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
    """A task that goes on after a pause knows still when its schedule wanted a run."""
    if view.refusal:
        return _fail(view)
    if is_due(view.task, view.now) and not _has_begun(view) and view.now >= _late_at(view):
        return [Notify(Event.MISSED_SCHEDULE, WHILE_PAUSED, _once_a_run(view.task)), SetUp()]
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
            actions.append(Notify(Event.MISSED_SCHEDULE, CANNOT_BEGIN, _once_a_run(view.task)))
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
    return [Finish(), Notify(Event.TASK_DONE, text, f"{task.version}")]


def _fail(view: View) -> list[Action]:
    told = Notify(Event.TASK_ERROR, view.refusal, f"version {view.task.version}")
    return [Fail(view.refusal, ErrorCode.CFN_ERROR), told]


def _pause(view: View, reason: str) -> list[Action]:
    return [Pause(reason), Notify(Event.TASK_PAUSED, reason, f"version {view.task.version}")]


def _say(view: View, reason: str) -> list[Action]:
    return [Say(reason)] if reason != view.task.reason else []


# ------------------------------------------------------------------------------------------- what is due


def is_due(task: Task, now: float) -> bool:
    """Whether the schedule wants a run."""
    return bool(task.next_run and task.next_run <= now)


def _set_next_run(view: View) -> list[Action]:
    """Where it is not known yet, or is later than the schedule says: the clock was ahead for a while."""
    return [SetNextRun(_upcoming(view))] if _is_unset(view.task, view.terms.schedule, view.now) else []


def _what_is_due(view: View) -> list[Action]:
    """Runs and retries that were asked for, by a user or by the schedule."""
    task = view.task
    actions: list[Action] = [RetryFailed()] if task.redrive_requested else []
    due, asked = is_due(task, view.now), task.run_requested
    if due and view.by_stack and _has_begun(view):
        actions.append(SetNextRun(_upcoming(view)))
        due = False
    elif due and view.by_stack:
        # Until then it is for the stack to begin it.
        due = view.now >= _late_at(view)
    if not due and not asked:
        return actions
    if _is_listing(view):
        # What a user asks for begins after it, and stands for a scheduled run as well. A stack takes it for the same.
        if asked:
            return [*actions, BeginRun()] if view.by_stack else actions
        return [
            *actions,
            Notify(Event.MISSED_SCHEDULE, LEFT_OUT, _once_a_run(task)),
            SetNextRun(_upcoming(view)),
        ]
    late = _why_late(view) if due else ""
    actions.append(BeginRun(late, _upcoming(view) if due else None))
    if late:
        actions.append(Notify(Event.MISSED_SCHEDULE, late, _once_a_run(task)))
    return actions


def _is_listing(view: View) -> bool:
    """Whether a listing is under way, which keeps another one from beginning. In a stack its run says so."""
    listing = (run.kind is RunKind.SYNC and run.state is RunState.LISTING for run in view.runs or ())
    return view.listing or (view.by_stack and any(listing))


def _has_begun(view: View) -> bool:
    """Whether a stack began the run that is due. It counts a rate from another moment than the hub does."""
    schedule = view.terms.schedule
    since = view.task.next_run - (schedule.seconds if isinstance(schedule, Rate) else SKEW)
    return any(run.kind is RunKind.SYNC and run.started >= since for run in view.runs or ())


def _wanted(view: View) -> float:
    """When the run that is due might have begun: the window was open then."""
    window, at = view.terms.window, view.task.next_run
    return at if window.is_open(at) else window.next_change(at) or at


def _late_at(view: View) -> float:
    """When the run that is due counts as missed: when the next one is due, and after `LATE` seconds."""
    schedule, wanted = view.terms.schedule, _wanted(view)
    following = schedule.next_after(wanted, view.task.created) if schedule else None
    return min(wanted + LATE, following or wanted + LATE)


def _why_late(view: View) -> str:
    """Why a run begins late; "" where nobody has to be told."""
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
    return f"the schedule wanted this run {seconds} seconds before it began: {why}"


def _once_a_run(task: Task) -> str:
    return f"{task.next_run:.0f}"


def _upcoming(view: View) -> float:
    return _next_run(view.task, view.terms.schedule, view.now)


def next_change(view: View) -> float | None:
    """When time alone makes `decide` say something else; None: never, as far as is known."""
    moments = [view.terms.window.next_change(view.now)]
    if view.task.next_run:
        moments += [view.task.next_run, _late_at(view)]
    return min((each for each in moments if each and each > view.now), default=None)


# ---------------------------------------------------------------------------------------------- schedules


def schedule_of(task: Task) -> Schedule | None:
    """When runs begin; None for a one-time task. Raises UsageError."""
    if task.schedule_type is ScheduleType.ONE_TIME:
        return None
    parameters = read_parameters(task.type, task.parameters)
    text = parameters.schedule_rate or parameters.ec2_cron_expression
    return Schedule.parse(text) if text else None


def next_run(task: Task, now: float) -> float:
    """When the schedule begins the next run; 0 for never."""
    return _next_run(task, schedule_of(task), now)


def is_unset(task: Task, now: float) -> bool:
    """Whether the next run is still to be told, or is later than the schedule says: the clock was ahead for a while."""
    return _is_unset(task, schedule_of(task), now)


def _next_run(task: Task, schedule: Schedule | None, now: float) -> float:
    return (schedule.next_after(now, task.created) or 0.0) if schedule else 0.0


def _is_unset(task: Task, schedule: Schedule | None, now: float) -> bool:
    upcoming = _next_run(task, schedule, now)
    return bool(upcoming) and (not task.next_run or task.next_run > upcoming)


# ------------------------------------------------------------------------------------------ how it stands


def _is_under_way(view: View) -> bool:
    depth = view.depth
    waiting = depth.visible + depth.in_flight + depth.delayed > 0
    return waiting or any(run.is_open for run in view.runs or ())


def _budget_reached(view: View) -> str:
    """Why the task pauses; "" where it goes on. One that has nothing left to do does, as does one whose cost is not
    known."""
    budget, spent, depth = view.terms.budget, view.task.spent, view.depth
    has_work = depth.visible + depth.in_flight + depth.delayed > 0 or any(
        run.is_open and not run.is_settled for run in view.runs or ()
    )
    if budget is None or spent < budget or not has_work:
        return ""
    return f"the budget of ${budget:g} is reached (estimated ${spent:.4f}); raise it and resume"


def _last_listing(view: View) -> Run | None:
    """As it stands by now, with what was tried again since."""
    runs = view.runs or ()
    found = next((run for run in runs if run.kind is RunKind.SYNC), runs[0] if runs else None)
    return with_retries(found, runs) if found else None


def _why_last_failed(view: View) -> str:
    """A task with a schedule says why its last run failed, until another one begins."""
    run = _failed_listing(view)
    once = view.task.schedule_type is ScheduleType.ONE_TIME
    return f"run {run.id} failed: {run.error}" if run and not once else ""


def _failed_listing(view: View) -> Run | None:
    """The newest one, if it has failed for good: while a listing is under way, it may be begun anew."""
    run = _last_listing(view)
    return run if run and run.state is RunState.FAILED and run.error and not view.listing else None


def _what_ended(view: View) -> list[Action]:
    """What ended some time ago has been told."""
    told: list[Action] = []
    failed = _failed_listing(view)
    for run in view.runs or ():
        if view.now - run.ended > RECENT:
            continue
        if failed and run.id == failed.id:
            told.append(Notify(Event.TASK_ERROR, run.error, f"{run.id}"))
        if not run.is_open and (lost := _lost(run)):
            text = f"{lost} {view.terms.things} failed in run {run.id}"
            told.append(Notify(Event.DEAD_LETTERS, text, f"{run.id} {lost}"))
    return told


def _lost(run: Run) -> int:
    return run.counts.failed + run.counts.delete_failed
