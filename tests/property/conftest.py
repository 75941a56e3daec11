"""How long an example takes by the clock on the wall says what else the host does, and nothing about the code.

The slowest example of this folder takes some milliseconds of CPU; on a host with five times more work than processors
it passes hypothesis' 200 ms, and drawing the first ten a second. What costs too much is found by counting opcodes
(``test_machine.py``), and a test that hangs by the timeout that every test has.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("loaded-host", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded-host")
