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

    if isinstance(schema, dict):
        # The application's may name an older draft, whose words mean the same as far as they are still there.
        schema = {key: value for key, value in schema.items() if key != "$schema"}
    compiled = compile_schema(schema)
    try:
        found = [one.message for one in compiled.problems(value, kind)]
    except (TypeError, ValueError) as error:  # a value that has no JSON fits no schema
        found = [str(error)]
    if found:
        message = f"{kind.capitalize()} validation failed for step {step.get('id', 'unknown')}: {found[0]}"
        raise SchemaValidationError(message, kind, found)
