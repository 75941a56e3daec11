"""JSON Schema, draft 2020-12: ``$ref`` only inside the document, patterns in linear time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

import jsonschema_rs
import msgspec

from treadle.errors import ValidationError
from treadle.model import Problem

if TYPE_CHECKING:
    from treadle.model import JsonValue


class Schema:
    """A compiled schema; immutable and shared."""

    def __init__(self, validator: jsonschema_rs.Draft202012Validator) -> None:
        self._validator = validator

    def problems(self, value: JsonValue, root: str = "input") -> list[Problem]:
        """Return everything in ``value`` that breaks the schema, each with its path below ``root``."""
        return [
            Problem(code="schema", message=error.message, path=_path(root, error.instance_path))
            for error in self._validator.iter_errors(value)
        ]


def compile_schema(schema: dict[str, JsonValue] | bool) -> Schema:  # noqa: FBT001 - true and false are schemas
    """Return the compiled form of a schema.

    Raises:
        ValidationError: It is no schema, or refers to something outside itself.
    """
    return _compile(msgspec.json.encode(schema, order="deterministic"))


@lru_cache(maxsize=1_000)
def _compile(data: bytes) -> Schema:
    try:
        validator = jsonschema_rs.Draft202012Validator(
            msgspec.json.decode(data),
            validate_formats=False,
            retriever=_refuse,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        raise ValidationError(f"no valid JSON Schema: {str(error).splitlines()[0]}") from error
    return Schema(validator)


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside the document; nothing is fetched")


def _path(root: str, parts: list[str | int]) -> str:
    return root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
