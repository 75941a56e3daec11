"""The durable folder through which other processes reach the engine that runs a file.

One file a command: written, synced, renamed into place, and the folder synced, so that a command that was posted
survives power loss and is never seen half written. The engine answers with a file beside it and then removes the
command. A command that was carried out just before a crash is carried out again under the same ``request``, by which
the machine knows it.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Raw, Struct

from treadle.errors import StoreError
from treadle.limits import Occupancy
from treadle.model import Answer, BulkResult, ExecutionFilter, Explanation

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND: Final = ".command"
ANSWER: Final = ".answer"
ANSWERS_KEPT_SECONDS: Final = 3_600
"""An answer that nobody fetched is removed after this."""


_NULL: Final = Raw(b"null")


class Letter(Struct, frozen=True, forbid_unknown_fields=True):
    """A command to the engine.

    Attributes:
        verb: What to do.
        execution_id: With which execution, or which schedule; ``""`` for a verb that is about none.
        request: Names this command, so that it counts once.
        inputs: JSON object for ``resume`` and ``fork``, empty for none; for ``schedule`` what is asked for.
        reason: For ``cancel`` and ``terminate``.
        step: For ``submit``, ``answer``, ``cancel_step``, ``fork`` and ``explain``.
        answer: For ``answer``.
        fork: For ``fork``: id of the new execution.
        definition: For ``migrate``: hash of a registered version; ``""`` where ``data`` is one.
        new_key: For ``retry``.
        where: For ``pause resume cancel retry`` of many executions: which ones; None for the one named.
        name: For ``send``: of the event.
        key: For ``send``: of the event; null for none.
        event_id: For ``send``: names the event; ``""``: ``request`` does.
        data: For ``submit``: the answer; for ``answer``: the output; for ``send``: what the event carries; for
            ``register``, ``fork`` and ``migrate``: the canonical form of a valid workflow (null for none).
    """

    verb: Literal[
        "pause",
        "resume",
        "cancel",
        "terminate",
        "retry",
        "cancel_step",
        "fork",
        "migrate",
        "submit",
        "answer",
        "send",
        "register",
        "schedule",
        "unschedule",
        "pause_schedule",
        "resume_schedule",
        "trigger_schedule",
        "explain",
        "occupancy",
    ]
    execution_id: str
    request: str
    inputs: dict[str, Raw] = {}
    reason: str = ""
    fork: str = ""
    definition: str = ""
    new_key: bool = False
    step: str = ""
    answer: Answer = Answer.RETRY
    name: str = ""
    key: Raw = _NULL
    event_id: str = ""
    data: Raw = _NULL
    where: ExecutionFilter | None = None


class Reply(Struct, frozen=True):
    """What became of a command.

    Attributes:
        accepted: What the verb returned.
        code: Of the error it raised, as in ``errors``; ``""`` for none.
        message: Of that error.
        result: Of a verb for many executions; None for any other.
        explanation: Of ``explain``.
        occupancy: Of ``occupancy``.
    """

    accepted: bool
    code: str = ""
    message: str = ""
    result: BulkResult | None = None
    explanation: Explanation | None = None
    occupancy: Occupancy | None = None


QUESTIONS: Final = ("explain", "occupancy")
"""Verbs that change nothing: whichever engine runs answers them, and nobody waits for an engine to come."""


class Inbox:
    """The folder beside a database.

    Args:
        database: Path of the database; the folder is ``<database>.inbox``.
        max_bytes: A larger command is refused.
    """

    def __init__(self, database: str, *, max_bytes: int) -> None:
        self.folder = Path(f"{database}.inbox")
        self._max_bytes = max_bytes

    # -- the side of whoever asks

    def post(self, letter: Letter) -> str:
        """Leave a command and return its name, once it is durable.

        Raises:
            StoreError: It cannot be written.
        """
        # The time puts commands in order for a reader of the folder; the id keeps two of one instant apart.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            _write(self.folder / f"{name}{COMMAND}", msgspec.json.encode(letter))
            _sync(self.folder)
            _sync(self.folder.parent)
        except OSError as error:
            raise StoreError(f"the command cannot be written: {error.strerror}", str(self.folder)) from error
        return name

    def fetch(self, name: str) -> Reply | None:
        """Return the answer to a command, once; None while there is none."""
        path = self.folder / f"{name}{ANSWER}"
        try:
            reply = msgspec.json.decode(path.read_bytes(), type=Reply)
        except (OSError, msgspec.MsgspecError):
            return None
        path.unlink(missing_ok=True)
        return reply

    def withdraw(self, name: str) -> None:
        """Take a question back that was not answered in time."""
        with contextlib.suppress(OSError):
            (self.folder / f"{name}{COMMAND}").unlink(missing_ok=True)

    # -- the side of the engine

    def names(self) -> list[str]:
        """Return the commands that wait, oldest first; empty where there is no folder."""
        return sorted(path.stem for path in self._files(COMMAND))

    def read(self, name: str) -> Letter:
        """Return a command.

        Raises:
            StoreError: It cannot be read, or is no command; the message says why.
        """
        path = self.folder / f"{name}{COMMAND}"
        try:
            with path.open("rb") as file:
                content = file.read(self._max_bytes + 1)
        except OSError as error:
            raise StoreError(f"the command cannot be read: {error.strerror}", str(path)) from error
        if len(content) > self._max_bytes:
            raise StoreError(f"the command is larger than {self._max_bytes:,} bytes", str(path))
        try:
            return msgspec.json.decode(content, type=Letter)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise StoreError(f"this is no command: {error}", str(path)) from error

    def answer(self, name: str, reply: Reply) -> None:
        """Answer a command and remove it. In this order: after a crash between the two it is answered again."""
        with contextlib.suppress(OSError):  # without room for an answer the command counts all the same
            _write(self.folder / f"{name}{ANSWER}", msgspec.json.encode(reply))
        with contextlib.suppress(OSError):
            (self.folder / f"{name}{COMMAND}").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove answers that nobody fetched, and what a poster that was killed left half written."""
        oldest = time.time() - ANSWERS_KEPT_SECONDS
        for path in (*self._files(ANSWER), *self._files(_HALF)):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _files(self, suffix: str) -> Iterator[Path]:
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            yield from [Path(entry.path) for entry in entries if entry.name.endswith(suffix) and entry.is_file()]


_HALF: Final = ".half"


def _write(path: Path, content: bytes) -> None:
    half = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_HALF}")
    handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - it takes over the handle
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.rename(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
