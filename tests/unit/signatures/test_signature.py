"""What a function takes from a node, and what is wrong with what a node passes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from treadle.actions import Registry, StepContext, action
from treadle.signatures import Signature, functions_of, marked_name, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nowhere import Imagined  # type: ignore[import-not-found]  # as names for type checkers often are


def charge(customer: str, amount: float, note: str = "none", *, context: StepContext) -> bool: ...


def anything(**fields: int) -> None: ...


def by_place(first: int, second: int = 2, /, third: int = 3, *rest: int) -> None: ...


def half_known(who: Imagined, amount: int = 0) -> None: ...


class Sender:
    async def __call__(self, to: str) -> None: ...


def loosely(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> object:
        return function("session", *args, **kwargs)

    return wrapper


@loosely
def with_session(session: str, email: str) -> None: ...


def taken(function: Callable[..., object]) -> Signature:
    signature = signature_of(function)
    assert signature is not None
    return signature


def faults(function: Callable[..., object], **parameters: object) -> list[tuple[str, str, str]]:
    found = taken(function).faults("x.y", parameters)
    return [(one.kind, one.parameter, one.message) for one in found]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (charge, "(customer: str, amount: float, note: str = 'none')"),
        (anything, "(**fields: int)"),
        (by_place, "(first: int, second: int = 2, third: int = 3, *rest: int)"),
        (Sender(), "(to: str)"),
        (functools.partial(charge, "ada"), "(amount: float, note: str = 'none')"),
        (lambda context, a=[1], b="x" * 30: None, "(a = ..., b = ...)"),
        (lambda **context: None, "(**context)"),
        (lambda: None, "()"),
    ],
)
def test_a_signature_is_shown_without_the_context(function: Callable[..., object], text: str) -> None:
    assert str(taken(function)) == text


def test_a_long_signature_is_shown_in_part() -> None:
    many = eval(f"lambda {', '.join(f'parameter_{n}' for n in range(50))}: None")
    text = str(taken(many))
    assert len(text) < 210
    assert text.endswith("...)")


def test_what_fits_has_no_fault() -> None:
    assert faults(charge, customer="a", amount=1) == []
    assert faults(charge, customer="${a.b}", amount="${x}", note="${y}") == []
    assert faults(anything, a=1, b=2) == []
    assert faults(anything, context=1) == []
    assert faults(Sender(), to="a") == []
    assert faults(functools.partial(charge, "ada"), amount=1) == []


def test_every_name_that_is_not_taken_or_not_passed_is_told() -> None:
    called = "x.y(customer: str, amount: float, note: str = 'none')"
    assert faults(charge, custmer="a", context={}, note="n") == [
        ("unknown_parameter", "custmer", f'{called} takes no parameter "custmer"'),
        ("unknown_parameter", "context", f'{called} takes no parameter "context": the engine gives it'),
        ("missing_parameter", "customer", f'{called} needs the parameter "customer"'),
        ("missing_parameter", "amount", f'{called} needs the parameter "amount"'),
    ]


def test_what_is_taken_by_position_only_no_node_can_pass() -> None:
    called = "x.y(first: int, second: int = 2, third: int = 3, *rest: int)"
    by_position = ", which it takes by position only: nodes pass by name"
    assert faults(by_place, first=1, third=3, rest=[]) == [
        ("unknown_parameter", "first", f'{called} takes no parameter "first"'),
        ("unknown_parameter", "rest", f'{called} takes no parameter "rest"'),
        ("missing_parameter", "first", f'{called} needs the parameter "first"{by_position}'),
    ]


def test_a_constant_that_is_not_what_is_declared_is_told_as_uncertain() -> None:
    (fault,) = taken(charge).faults("x.y", {"customer": "a", "amount": "ten"})
    assert (fault.kind, fault.parameter, fault.below, fault.is_certain) == ("unfit_parameter", "amount", (), False)
    assert fault.message.endswith('declares "amount" as float, and this is not')


def test_an_annotation_that_cannot_be_read_spoils_no_other() -> None:
    assert faults(half_known, who=object(), amount=1) == []
    assert [one[:2] for one in faults(half_known, who=1, amount="x")] == [("unfit_parameter", "amount")]


def test_behind_a_decorator_that_takes_anything_there_are_only_doubts() -> None:
    signature = taken(with_session)
    assert list(signature.faults("x.y", {"mail": 1})) == []
    assert [(one.kind, one.parameter, one.is_certain) for one in signature.doubts("x.y", {"mail": 1})] == [
        ("unknown_parameter", "mail", False),
        ("missing_parameter", "session", False),
        ("missing_parameter", "email", False),
    ]
    twice = taken(loosely(with_session))
    assert len(list(twice.doubts("x.y", {"mail": 1}))) == 3
    assert list(taken(charge).doubts("x.y", {})) == []


@pytest.mark.parametrize("function", [max, dict, 5])
def test_of_what_has_no_signature_nothing_is_known(function: Any) -> None:
    assert signature_of(function) is None


def test_a_wrapper_that_wraps_itself_ends() -> None:
    def strange() -> None: ...

    strange.__wrapped__ = strange  # type: ignore[attr-defined]  # on purpose
    assert signature_of(strange) is None


def test_a_registry_knows_what_its_actions_take() -> None:
    registry = Registry([{"a": charge, "b": max}])
    assert str(registry.signature("a")) == "(customer: str, amount: float, note: str = 'none')"
    assert registry.signature("a") is registry.signature("a")
    assert registry.signature("b") is None
    assert registry.signature("c") is None
    registry.add("c", anything)
    assert str(registry.signature("c")) == "(**fields: int)"


def test_marks_are_found_where_they_were_left() -> None:
    marked = action("crm.find")(charge)
    try:
        assert marked is charge
        assert (marked_name(charge), marked_name(anything), marked_name(Mock()), marked_name(3)) == (
            "crm.find",
            None,
            None,
            None,
        )
        assert list(functions_of(charge)) == [("crm.find", charge)]
        assert list(functions_of({"other": anything})) == [("other", anything)]
    finally:
        del charge.__dict__["__treadle_action__"]
