"""The expression language: a stated subset of CEL, compiled to closures over plain JSON values."""

from __future__ import annotations

from treadle.errors import ExpressionError
from treadle.expressions.budget import DEFAULT, Budget
from treadle.expressions.compiler import Expression, Reference, compile_expression, compile_path
from treadle.expressions.conditions import translate_condition
from treadle.expressions.names import MISSING, Missing, MissingNameError, Record, Scope
from treadle.expressions.secrets import Place, fill_in, names_in, secret_name
from treadle.expressions.templates import Template, compile_template, is_always_text, template_problems

__all__ = [
    "DEFAULT",
    "MISSING",
    "Budget",
    "Expression",
    "ExpressionError",
    "Missing",
    "MissingNameError",
    "Place",
    "Record",
    "Reference",
    "Scope",
    "Template",
    "compile_expression",
    "compile_path",
    "compile_template",
    "fill_in",
    "is_always_text",
    "names_in",
    "secret_name",
    "template_problems",
    "translate_condition",
]
