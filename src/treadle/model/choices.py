"""What a definition, or a call, chooses one of."""

from __future__ import annotations

from enum import Enum


class NodeType(str, Enum):
    """What a node does."""

    ACTION = "action"
    TRIGGER = "trigger"
    SWITCH = "switch"
    SET = "set"
    WAIT = "wait"
    INPUT = "input"
    EVENT = "event"
    WORKFLOW = "workflow"
    MAP = "map"
    LOOP = "loop"
    PARALLEL = "parallel"
    END = "end"


class SwitchMode(str, Enum):
    """Which of its conditional connections a switch takes: the first whose condition is true, or every such one."""

    FIRST = "first"
    ALL = "all"


class Outcome(str, Enum):
    """Which end of its source a connection follows."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


class JoinKind(str, Enum):
    """When a node with several incoming connections runs."""

    ALL = "all"
    EVERY = "every"
    ANY = "any"
    AT_LEAST = "at_least"


class OnSkip(str, Enum):
    """What the outgoing connections of a node become whose own condition was not taken."""

    DEAD = "dead"
    PASS = "pass"  # noqa: S105 - no password


class OnFailure(str, Enum):
    """What happens to attempts in flight when the execution halts."""

    WAIT = "wait"
    CANCEL = "cancel"


class OnInterrupted(str, Enum):
    """What follows an attempt that was cut off by a crash or a shutdown; the last two give at-most-once."""

    RETRY = "retry"
    FAIL = "fail"
    PAUSE = "pause"


class OnExhausted(str, Enum):
    """What follows once the attempts of a step are spent: it fails, or a person answers."""

    FAIL = "fail"
    PAUSE = "pause"


class Answer(str, Enum):
    """What becomes of a step whose attempts are spent, as a person says."""

    RETRY = "retry"
    OUTPUT = "output"
    COMPLETE = "complete"
    SKIP = "skip"
    ABORT = "abort"


class Jitter(str, Enum):
    """How a retry delay is randomised; ``full`` draws uniformly from 0 to the computed delay."""

    NONE = "none"
    FULL = "full"


class OnConflict(str, Enum):
    """What a start does where an open execution of the workflow has its key already.

    ``reject`` raises; ``return_existing`` gives that one; ``queue`` starts once those before it have ended;
    ``cancel_running`` cancels those before it, and starts once they have ended.
    """

    REJECT = "reject"
    RETURN_EXISTING = "return_existing"
    QUEUE = "queue"
    CANCEL_RUNNING = "cancel_running"
