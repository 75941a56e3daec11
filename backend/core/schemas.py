"""A step's JSON Schemas: of its resolved parameters, and of what it gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import treadle
from core.step_errors import SchemaValidationError

if TYPE_CHECKING:
    from core.workflow_graph import Step


def check_schema(step: Step, kind: str, value: object) -> None:
    """Check ``value`` against the schema ``kind`` (``input`` or ``output``) of a step; without one, everything fits.

    Raises:
        SchemaValidationError: It does not fit, or nothing can: the schema is none.
    """
    schema = step.get(f"{kind}_schema")
    if not schema:
        return
    found = _first_problem(schema, kind, value)
    if found is not None:
        message = f"{kind.capitalize()} validation failed for step {step.get('id', 'unknown')}: {found}"
        raise SchemaValidationError(message, kind, [found])


def _first_problem(schema: Any, kind: str, value: Any) -> str | None:  # noqa: ANN401 - the application's
    from treadle.schemas import compile_schema  # loaded only where a step has schemas

    if isinstance(schema, dict):
        # The application's may name an older draft, whose words mean the same as far as they are still there.
        schema = {key: value for key, value in schema.items() if key != "$schema"}
    try:
        problems = compile_schema(schema).problems(value, kind)
    except (treadle.ValidationError, TypeError, ValueError) as error:  # a value that has no JSON fits no schema
        return str(error)
    return problems[0].message if problems else None
