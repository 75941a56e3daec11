"""Slots: chooses over the ready steps of ALL executions which start now.

The engine's slots, the limit of an execution and every named limit are never exceeded, and are reached whenever that
many steps are ready. By priority first; among equals each key in turn, then each execution in turn; within an execution
in definition order. A line of steps that a limit stops is parked at that limit and looked at again when it opens, so
that what waits costs nothing.

Nobody starves. Of sixteen slots, and of sixteen places of a limit, one goes to the step that waits longest if only
steps of higher priority were served before. A step that was tried in vain as often claims its limits: a place of each
is kept for it until it starts. Where there are several, that is the one case in which a limit is not reached.

From the inside out: ``gates`` (one limit), ``in_force`` (which limits stand before a step), ``rotation`` (whose turn it
is), ``parking`` (which lines may be tried, and which wait at a limit), ``claims`` (places that are kept),
``executions`` (what each waits for and holds), ``admission`` (all of it).
"""

from __future__ import annotations

from treadle.drivers.local.admission.admission import Admission, Held
from treadle.drivers.local.admission.executions import Admitted
from treadle.drivers.local.admission.gates import Standing

__all__ = ["Admission", "Admitted", "Held", "Standing"]
