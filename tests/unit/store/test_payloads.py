"""Values that are cut out of a turn and put back: the bytes are the same, or it is said what is wrong."""

from __future__ import annotations

import itertools
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.machine import encode_events, large_values
from treadle.machine.events import AttemptFailed, ExecutionCreated, StepStarted, StepSucceeded
from treadle.model import StepError
from treadle.store.payloads import PLAIN, ZLIB, PayloadFault, cut, join, name_of, names_in, pack, unpack
from treadle.values import encode_payload

LIMIT = 40


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_what_is_cut_out_is_put_back(events: bytes, places: list[int]) -> None:
    ends = sorted(min(one, len(events)) for one in places)
    ranges = list(zip(ends[::2], ends[1::2], strict=False))
    stored, values = cut(events, ranges)
    assert values == [events[start:end] for start, end in ranges]
    assert list(names_in(stored)) == [name_of(one) for one in values]
    kept = {name_of(one): one for one in values}
    assert join(stored, kept.__getitem__) == events


@given(st.binary(max_size=2_000))
def test_a_value_is_kept_as_it_is_or_smaller(value: bytes) -> None:
    encoding, content = pack(value)
    assert len(content) <= len(value)
    assert unpack(name_of(value), len(value), encoding, content) == value


def test_what_compresses_well_is_compressed_and_nothing_else() -> None:
    assert pack(b"x" * 1_000)[0] == ZLIB
    assert pack(bytes(range(256)))[0] == PLAIN


def test_a_value_that_was_changed_is_none() -> None:
    value = b"x" * 1_000
    name, (encoding, content) = name_of(value), pack(value)
    bomb = zlib.compress(b"x" * 10_000_000)
    for size, form, damaged in (
        (1_000, encoding, content[:-12]),
        (900, encoding, content),
        (1_000, PLAIN, b"y" * 1_000),
        (1_000, ZLIB, bomb),
        (1_000, ZLIB, b"no zlib"),
        (1_000, PLAIN, "text"),
        ("many", ZLIB, content),
        (1_000, 7, value),
    ):
        with pytest.raises(PayloadFault, match=f"needs the payload {name.hex()}, which"):
            unpack(name, size, form, damaged)  # type: ignore[arg-type]
    for no_turn in (b"[1]", b"\xc1", msgspec.msgpack.encode([1])):
        with pytest.raises(PayloadFault, match="is not of format 2"):
            join(no_turn, lambda _: b"")


def test_a_damaged_size_does_not_fill_the_memory() -> None:
    bomb = zlib.compress(b"x" * 10_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(PayloadFault):
            unpack(name_of(b"another"), -1, ZLIB, bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


VALUES = st.recursive(
    st.text(max_size=90) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_every_large_value_of_a_turn_is_found_in_order(values: list[object]) -> None:
    events = [StepSucceeded(step="a", attempt=1, output=encode_payload(one), at=1) for one in values]  # type: ignore[arg-type]
    data = encode_events(events)
    ranges = large_values(events, data, LIMIT)
    assert all(start < end for start, end in ranges)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    assert all(end - start > LIMIT for start, end in ranges)
    found = [data[start:end] for start, end in ranges]
    for one in values:
        encoded = msgspec.json.encode(one)
        if not isinstance(one, dict) and len(encoded) > LIMIT:
            assert encoded in found


def test_of_an_object_its_large_members_count_unless_the_rest_is_large_too() -> None:
    long, rest = "x" * 50, {f"key{number}": number for number in range(9)}
    events = [
        ExecutionCreated(
            execution_id="e",
            workflow_id="w" * 99,
            definition_hash="h",
            input=encode_payload({"doc": long, "n": 1}),
            at=1,
        ),
        StepStarted(step="a", attempt=1, at=1),
        StepStarted(step="a", attempt=1, parameters=encode_payload({"doc": long, **rest}), at=1),
        StepSucceeded(step="a", attempt=1, output=encode_payload(long), at=1),
        AttemptFailed(step="a", attempt=1, error=StepError(type="E", message="m" * 99), delay_ms=1, due=1, at=1),
    ]
    data = encode_events(events)
    found = [data[start:end] for start, end in large_values(events, data, LIMIT)]
    quoted = b'"%s"' % long.encode()
    assert found == [quoted, msgspec.json.encode({"doc": long, **rest}), quoted]
    assert large_values(events, data, len(data)) == ()
