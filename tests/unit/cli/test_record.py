"""What is written of recorded data: literals and nothing else, and secrets by the names of their keys."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import load_workflow
from treadle.cli.literals import literal
from treadle.cli.recording import Returned, record
from treadle.cli.redaction import Redaction, is_secret_key
from treadle.testing import rehearse

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_a_literal_is_the_value_and_no_code(value: Any) -> None:
    assert ast.literal_eval(literal(value)) == value


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="set is no JSON value"):
        literal([{1}])


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        *[(key, True) for key in ("password", "db_password", "passwordHash", "X-API-Key", "apiKey", "APIKEY")],
        *[(key, True) for key in ("access_token", "accessToken", "Authorization", "client-secret", "my credentials")],
        *[(key, False) for key in ("token_count", "key", "monkey", "tokenizer", "compass", "primary_key", "")],
    ],
)
def test_a_key_says_whether_it_is_secret(key: str, secret: bool) -> None:
    assert is_secret_key(key) is secret


def test_a_secret_is_found_again_in_other_text_and_counted() -> None:
    redact = Redaction()
    given = {"auth": {"token": ["abcd", "x"], "tokens": 3}, "said": "Bearer abcd, abcd", "password": True, "pwd": ""}
    redact.learn(given)
    assert redact(given) == {
        "auth": {"token": ["REDACTED", "REDACTED"], "tokens": 3},
        "said": "Bearer REDACTED, REDACTED",
        "password": True,
        "pwd": "",
    }
    assert redact.count == 4
    assert redact({"password": "${input.password}"}) == {"password": "${input.password}"}


def test_turns_of_one_millisecond_keep_their_order_by_time() -> None:
    nodes = [{"id": name, "action": "act"} for name in "abc"]
    edges = [{"source": "a", "target": "b"}, {"source": "a", "target": "c"}]
    document = {"id": "w", "nodes": nodes, "connections": edges}
    with rehearse(document, replace={"act": 1}) as run:
        recording = record(load_workflow(document), run.history)
    outcomes = {(called.action, called.step): each for called, each in recording.outcomes.items()}
    assert outcomes == {
        ("act", "a"): [Returned(1e-05, 1)],
        ("act", "b"): [Returned(2e-05, 1)],
        ("act", "c"): [Returned(2e-05, 1)],
    }
