"""What the function of an action is called and takes, read from the function itself. Nothing here calls it."""

from __future__ import annotations

from treadle.signatures.fitting import check_of
from treadle.signatures.marks import functions_of, is_async, mark, marked_name, wants_context
from treadle.signatures.signature import CONTEXT, Fault, Signature, signature_of

__all__ = [
    "CONTEXT",
    "Fault",
    "Signature",
    "check_of",
    "functions_of",
    "is_async",
    "mark",
    "marked_name",
    "signature_of",
    "wants_context",
]
