"""Authoring in Python: the same workflow a document would say, with handles in place of ids and typed references.

A handle stands for a node; ``handle.output["key"]`` is a reference to what it gives, which becomes ``${id.key}`` in
parameters. Nothing is overloaded: connections are made by ``after=`` and ``connect``, conditions are text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.definition.bodies import NestingBuilder
from treadle.definition.documents import load_workflow
from treadle.definition.options import bound, member
from treadle.model import OnFailure, Workflow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from treadle.definition.known import Actions
    from treadle.definition.options import Schema
    from treadle.model import JsonValue


class WorkflowBuilder(NestingBuilder):
    """Gathers nodes and connections, and builds a validated ``Workflow``.

    Args:
        id: Its name.
        name: For people.
        version: A label.
        input_schema: JSON Schema of the input.
        timeout: Bound of the whole execution.
        max_concurrent_steps: Of one execution.
        on_failure: What happens to attempts in flight when an execution halts.
        compensate_on_cancel: What completed steps did is undone also where an execution is cancelled.
        variables: Constants, read as ``vars.NAME``.
        annotations: Keys kept for editors, such as ``description``.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the domain's word
        *,
        name: str = "",
        version: str | int | None = None,
        input_schema: Schema = None,
        timeout: timedelta | None = None,
        max_concurrent_steps: int | None = None,
        on_failure: OnFailure | str = OnFailure.WAIT,
        compensate_on_cancel: bool = False,
        variables: Mapping[str, JsonValue] | None = None,
        annotations: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__()
        self._id = id
        self._name = name
        self._version = version
        self._input_schema = input_schema
        self._timeout_ms = bound(timeout)
        self._max_concurrent_steps = max_concurrent_steps
        self._on_failure = member(OnFailure, on_failure)
        self._compensate_on_cancel = compensate_on_cancel
        self._vars = dict(variables or {})
        self._annotations = dict(annotations or {})

    def build(self, *, actions: Actions | None = None, strict: bool = False) -> Workflow:
        """Return the workflow, validated.

        Args:
            actions: The registered actions, see ``Actions``; None where they are not known.
            strict: Warnings are errors.

        Raises:
            ValidationError: Something is wrong with it; ``problems`` has all.
        """
        workflow = Workflow(
            id=self._id,
            nodes=tuple(self._nodes),
            connections=tuple(self._connections),
            name=self._name,
            version=self._version,
            input_schema=self._input_schema,
            timeout_ms=self._timeout_ms,
            max_concurrent_steps=self._max_concurrent_steps,
            on_failure=self._on_failure,
            compensate_on_cancel=self._compensate_on_cancel,
            vars=self._vars,
            output=self._output,
            annotations=self._annotations,
        )
        return load_workflow(workflow, actions=actions, strict=strict)
