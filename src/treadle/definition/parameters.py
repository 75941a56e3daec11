"""Parameters of nodes held against what the function of their action takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.definition.problems import Finding
from treadle.model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from treadle.definition.layout import Origin
    from treadle.definition.problems import Nearest
    from treadle.model import JsonValue
    from treadle.signatures import Fault, Signature


def parameter_findings(
    action: str, signature: Signature, parameters: Mapping[str, JsonValue], origin: Origin, nearest: Nearest
) -> Iterator[Finding]:
    """Give what is wrong with the parameters of one node: an error where the call is certain to fail.

    Args:
        action: Its name.
        signature: What it takes.
        parameters: What the node passes.
        origin: Where the node stands.
        nearest: Finds the parameter that was probably meant.
    """
    for one in (*signature.faults(action, parameters), *signature.doubts(action, parameters)):
        yield finding_of(one, origin, nearest)


def finding_of(fault: Fault, origin: Origin, nearest: Nearest) -> Finding:
    """Return a fault at its place."""
    is_unknown = fault.kind == "unknown_parameter"
    hint = nearest.hint(fault.parameter, fault.taken) if is_unknown else ""
    below = () if fault.kind == "missing_parameter" else (fault.parameter, *fault.below)
    severity = Severity.ERROR if fault.is_certain else Severity.WARNING
    return Finding(fault.kind, origin.path("parameters", *below), fault.message, hint, severity, is_unknown)
