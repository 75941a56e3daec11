"""A slow, obvious interpreter of workflows: what the design says of joins, failures, bodies and time, word by word.

Nothing is counted or indexed that can be looked up again: after each input everything is scanned for what the rules
ask for next, until they ask for nothing. It shares no code with the machine but the model, and takes the machine's
inputs, so that the two can be compared after each of them:

    python -m tests.property.reference --graphs 100000 --seed 1

Read ``joins`` beside "Joins" in the design, ``groups`` beside "Node types", and ``execution`` beside "Failure" and
"Life of an execution". Where the design leaves open what comes first of what happens in one moment, it is this:

- What follows is done in rounds: first the steps whose joins were decided, in the order in which they were; then the
  bodies in which nothing is left, in that order; then maps, loops and parallels go on.
- Of one step's connections those without a condition are decided first, the active before the dead; then those with
  one, as they are written; ``else`` last.
- An action without a condition of its own waits for its slot from the moment its join is met.
- Timers that are due go one by one, each with what follows, by when they were due; at one moment retries before waits
  before timeouts, those of steps before those of groups before that of the execution; then by key.
"""

from __future__ import annotations

from tests.property.reference.execution import Reference
from tests.property.reference.parts import DONE, GROUPS, Scope, Step

__all__ = ["DONE", "GROUPS", "Reference", "Scope", "Step"]
