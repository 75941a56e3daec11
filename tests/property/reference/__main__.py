"""Compare the machine with the reference on as many graphs as asked for."""

from __future__ import annotations

import sys

from tests.property.reference.comparing import main

if __name__ == "__main__":
    sys.exit(main())
