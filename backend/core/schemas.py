"""A step's JSON Schemas: of its resolved parameters, and of what it gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.step_errors import SchemaValidationError

if TYPE_CHECKING:
    from core.workflow_graph import Step


def check_schema(step: Step, kind: str, value: object) -> None:
    """Check ``value`` against the schema ``kind`` (``input`` or ``output``) of a step; without one, everything fits.

    Raises:
        SchemaValidationError: It does not fit.
        treadle.ValidationError: The schema is none.
    """
    schema = step.get(f"{kind}_schema")
    if not schema:
        return
    from treadle.schemas import compile_schema  # loaded only where a step has schemas

    problems = compile_schema(schema).problems(value, kind)
    if problems:
        message = f"{kind.capitalize()} validation failed for step {step.get('id', 'unknown')}: {problems[0].message}"
        raise SchemaValidationError(message, kind, [one.message for one in problems])
