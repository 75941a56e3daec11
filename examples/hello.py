"""The three-line embedding: run a workflow that survives kill -9, and print what it gave."""

from __future__ import annotations

from pathlib import Path

import treadle


@treadle.action("greet")
def greet(name: str) -> str:
    """Return a greeting."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    here = Path(__file__).parent
    state = treadle.run_sync(here / "hello.yaml", {"name": "Ada"}, actions=[greet], store=":memory:")
    print(state.status.value, state.output)
