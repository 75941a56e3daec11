"""Admission against a slow, obvious reference: never exceeded, reached whenever possible, fair, and nobody starves."""

from __future__ import annotations

import gc
import random
import weakref
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.drivers.local.admission import Admission
from treadle.drivers.local.admission.rotation import PATIENCE
from treadle.limits import Numbers
from treadle.machine.commands import LimitKey, ReadyStep
from treadle.model import Node

NUMBERS = {
    "one": Numbers(concurrency=1),
    "two": Numbers(concurrency=2),
    "often": Numbers(rate=2, per_ms=100),
    "both": Numbers(concurrency=2, rate=3, per_ms=50),
    "tenant": Numbers(concurrency=1),
    "burst": Numbers(rate=1, per_ms=30),
}
KEYED = ("tenant", "burst")
OWN = {"svc": Numbers(concurrency=2), "svc.call": Numbers(rate=4, per_ms=80), "workflow:w1": Numbers(concurrency=3)}


class Execution:
    """What admission sees of one."""

    def __init__(self, number: int, priority: int = 0, limit: int | None = None) -> None:
        self.id = f"x{number}"
        self.priority = priority
        self.limit = limit
        self.workflow_id = f"w{number % 2}"

    def __repr__(self) -> str:
        return self.id


def step(name: str, *limits: LimitKey, order: int = 0, service: str = "") -> ReadyStep:
    return ReadyStep(name, order, Node(name, service=service, action="call"), limits)


def limit(name: str, key: str = "", numbers: Numbers | None = None) -> LimitKey:
    return LimitKey(name, key, numbers or NUMBERS[name])


class World:
    """Admission beside plain lists of who waits, who holds what, and who started when."""

    def __init__(self, slots: int, executions: list[Execution], own: dict[str, Numbers] | None = None) -> None:
        self.slots = slots
        self.executions = executions
        self.own = own or {}
        self.now = 1_000
        self.admission = Admission(slots, self.own, lambda: self.now)
        self.waiting: dict[tuple[Execution, str], ReadyStep] = {}
        self.running: list[tuple[Execution, ReadyStep]] = []
        self.starts: list[tuple[int, tuple[Any, ...]]] = []
        self.closed: dict[Any, int] = {}
        self.count = 0

    def offer(self, execution: Execution, *limits: LimitKey, service: str = "") -> ReadyStep:
        self.count += 1
        ready = step(f"s{self.count}", *limits, order=self.count, service=service)
        self.waiting[execution, ready.step] = ready
        self.admission.offer(execution, [ready])
        return ready

    def gates(self, execution: Execution, ready: ReadyStep) -> dict[Any, Numbers]:
        found: dict[Any, Numbers] = {(one.name, one.key): one.numbers for one in ready.limits}
        for name in (f"workflow:{execution.workflow_id}", ready.node.service, ready.node.action_name):
            if name in self.own:
                found[name, ""] = self.own[name]
        if execution.limit is not None:
            found[execution] = Numbers(concurrency=execution.limit)
        return found

    def has_room(self, execution: Execution, ready: ReadyStep, kept: set[Any] = frozenset()) -> bool:  # type: ignore[assignment]
        for gate, numbers in self.gates(execution, ready).items():
            spare = 1 if gate in kept else 0
            held = sum(gate in self.gates(*one) for one in self.running)
            recent = sum(gate in gates and at + numbers.per_ms > self.now for at, gates in self.starts)
            if self.closed.get(gate, 0) > self.now:
                return False
            if numbers.concurrency is not None and held + spare >= numbers.concurrency:
                return False
            if numbers.rate is not None and recent + spare >= numbers.rate:
                return False
        return True

    def choose(self) -> tuple[Execution, ReadyStep] | None:
        """Choose one, and see that nothing is exceeded."""
        found = self.admission.choose()
        if found is None:
            return None
        execution, name = found
        assert isinstance(execution, Execution)
        ready = self.waiting.pop((execution, name))
        assert len(self.running) < self.slots
        assert self.has_room(execution, ready)
        self.running.append((execution, ready))
        self.starts.append((self.now, tuple(self.gates(execution, ready))))
        return execution, ready

    def fill(self) -> list[tuple[Execution, ReadyStep]]:
        """Choose until nothing more starts, and see that nothing more could have."""
        chosen = []
        while (one := self.choose()) is not None:
            chosen.append(one)
        claim = self.admission._claims.current
        kept: set[Any] = set()
        if claim is not None:
            (owner, ready) = next((one, ready) for (one, name), ready in self.waiting.items() if name == claim.step)
            kept = set(self.gates(owner, ready))
        if len(self.running) < self.slots:
            stuck = [name for (one, name), ready in self.waiting.items() if self.has_room(one, ready, kept)]
            assert stuck == []
        assert self.admission.held == len(self.running)
        return chosen

    def release(self, place: int) -> None:
        execution, ready = self.running.pop(place % len(self.running))
        self.admission.release(execution, ready.step)

    def withdraw(self, execution: Execution) -> None:
        self.admission.withdraw(execution)
        self.waiting = {key: one for key, one in self.waiting.items() if key[0] is not execution}


LIMITS = st.lists(st.sampled_from(sorted(NUMBERS)), max_size=3, unique=True)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 4), LIMITS, st.sampled_from(["", "svc"]), st.integers(0, 2)),
        st.tuples(st.just("release"), st.integers(0, 20)),
        st.tuples(st.just("time"), st.integers(1, 60)),
        st.tuples(st.just("fill")),
        st.tuples(st.just("withdraw"), st.integers(0, 4)),
        st.tuples(st.just("refuse")),
        st.tuples(st.just("close"), st.integers(0, 20), st.integers(1, 90)),
    ),
    max_size=80,
)


@settings(max_examples=400, deadline=None)
@given(slots=st.integers(1, 6), operations=OPERATIONS, with_own=st.booleans())
def test_no_limit_is_exceeded_and_every_one_is_reached(slots: int, operations: list[Any], with_own: bool) -> None:
    executions = [Execution(number, priority=number % 3, limit=2 if number == 1 else None) for number in range(5)]
    world = World(slots, executions, OWN if with_own else None)
    for kind, *how in operations:
        if kind == "offer":
            place, names, service, key = how
            limits = [limit(name, f"k{key}" if name in KEYED else "") for name in names]
            world.offer(executions[place], *limits, service=service)
        elif kind == "release" and world.running:
            world.release(how[0])
        elif kind == "time":
            world.now += how[0]
        elif kind == "withdraw":
            world.withdraw(executions[how[0]])
        elif kind == "refuse":
            _refuse_one(world)
        elif kind == "close" and world.running:
            _close(world, *how)
        else:
            world.fill()
    _drain(world)


def _refuse_one(world: World) -> None:
    """A step that got a slot and did not start counts for nothing."""
    found = world.choose()
    if found is not None:
        execution, ready = found
        world.running.pop()
        world.starts.pop()
        world.admission.release(execution, ready.step, has_started=False)


def _close(world: World, place: int, ms: int) -> None:
    execution, ready = world.running[place % len(world.running)]
    until = world.now + ms
    closed = world.admission.close(execution, ready.step, until)
    for gate in world.gates(execution, ready):
        if isinstance(gate, tuple) and (f"{gate[0]}[{gate[1]}]" if gate[1] else gate[0]) in closed:
            world.closed[gate] = max(world.closed.get(gate, 0), until)


def _drain(world: World) -> None:
    """Everything that waits starts, if bodies end and time passes as ``wake_at`` says; then nothing is remembered."""
    for _ in range(10_000):
        world.fill()
        if not world.waiting:
            break
        if world.running:
            world.release(0)
        else:
            at = world.admission.wake_at()
            assert at is not None
            world.now = max(world.now, at)
    assert world.waiting == {}
    while world.running:
        world.release(0)
    assert world.admission.held == 0
    assert not any(one in world.admission for one in world.executions)
    world.now += 1_000
    world.admission._in_force.sweep(world.now)
    assert list(world.admission._in_force) == []
    assert all(not line.gates for line in world.admission._lines.values())


@pytest.mark.parametrize("shared", [None, "two"])
@pytest.mark.parametrize("order", range(5))
def test_keys_get_equal_shares_and_within_a_key_executions_do(order: int, shared: str | None) -> None:
    """However much more one of them has ready, and in whatever order it came."""
    draw = random.Random(order)
    executions = [Execution(number) for number in range(6)]
    keys = {one: f"t{number % 3}" for number, one in enumerate(executions)}
    more = [limit(shared)] if shared else []
    world = World(3, executions)
    offers = [one for place, one in enumerate(executions) for _ in range(30 + 10 * place)]
    draw.shuffle(offers)
    for one in offers:
        world.offer(one, limit("tenant", keys[one], Numbers(concurrency=3)), *more)
    by_key: Counter[str] = Counter()
    by_execution: Counter[Execution] = Counter()
    for _ in range(120):
        for execution, _ in world.fill():
            by_key[keys[execution]] += 1
            by_execution[execution] += 1
            assert max(by_key.values()) - min(by_key[key] for key in keys.values()) <= 1
            for key in set(keys.values()):
                mine = [by_execution[one] for one in executions if keys[one] == key]
                assert max(mine) - min(mine) <= 1
        world.release(draw.randrange(len(world.running)))


def test_without_limits_executions_take_turns_and_each_goes_in_definition_order() -> None:
    executions = [Execution(number) for number in range(3)]
    world = World(1, executions)
    for one in executions:
        for _ in range(4):
            world.offer(one)
    seen = []
    for _ in range(12):
        ((execution, ready),) = world.fill()
        seen.append((execution.id, ready.order))
        world.release(0)
    assert [name for name, _ in seen] == ["x0", "x1", "x2"] * 4
    assert [order for name, order in seen if name == "x1"] == [5, 6, 7, 8]


def test_a_higher_priority_goes_first_whatever_its_limits() -> None:
    low, high = Execution(0, priority=1), Execution(1, priority=2)
    world = World(1, [low, high])
    world.offer(low)
    world.offer(high, limit("one"))
    assert [one.id for one, _ in world.fill()] == ["x1"]


@pytest.mark.parametrize("limits", [(), ("one",), ("two",), ("one", "tenant")], ids="-".join)
def test_a_low_priority_starts_though_higher_ones_never_stop_coming(limits: tuple[str, ...]) -> None:
    """Under an endless supply of a higher priority behind the same limits: one slot of sixteen is the oldest's."""
    low, high = Execution(0), Execution(2, priority=5)
    world = World(2, [low, high])
    ready = [limit(name, "k" if name in KEYED else "") for name in limits]
    for _ in range(4):
        world.offer(high, *ready)
    world.fill()
    world.offer(low, *ready)
    draw = random.Random(1)
    rounds = 0
    while not any(execution is low for execution, _ in world.fill()):
        rounds += 1
        assert rounds <= 2 * PATIENCE
        world.offer(high, *ready)
        world.release(draw.randrange(len(world.running)))


def test_a_step_behind_two_limits_starts_though_they_are_never_free_at_once() -> None:
    """Steps of each limit alone come without end, and one of the two limits is always taken."""
    both, only_one, only_two = Execution(0), Execution(2), Execution(4)
    world = World(4, [both, only_one, only_two])
    one, other = Numbers(concurrency=1), Numbers(concurrency=1)
    first, second = limit("one", "", one), limit("other", "", other)
    for _ in range(2):
        world.offer(only_one, first)
        world.offer(only_two, second)
    world.fill()
    world.offer(both, first, second)
    rounds = 0
    while not any(execution is both for execution, _ in world.fill()):
        rounds += 1
        assert rounds <= 3 * PATIENCE
        world.offer(only_one, first)
        world.offer(only_two, second)
        world.release(0)


@pytest.mark.parametrize("ahead", [True, False])
def test_equals_that_never_stop_coming_pass_over_a_step_only_so_often(ahead: bool) -> None:
    """New executions that ask while all slots are taken do not push back one that waits for the limit already."""
    old = Execution(0)
    world = World(1, [old])
    world.offer(Execution(2), limit("one"))
    world.fill()
    world.offer(old, limit("one", "", NUMBERS["one"]), *([limit("tenant", "k")] if ahead else []))
    rounds = 0
    while not any(execution is old for execution, _ in world.fill()):
        rounds += 1
        assert rounds <= 2
        world.offer(Execution(2 * rounds + 2), limit("one"))
        world.release(0)


def test_a_claim_ends_where_one_of_its_limits_closes_for_a_time() -> None:
    """Nobody has to wait for what waits for a time."""
    both, only_one, only_two = Execution(0), Execution(2), Execution(4)
    world = World(4, [both, only_one, only_two])
    first, second = limit("one"), limit("other", "", Numbers(concurrency=1))
    for _ in range(40):
        world.offer(only_one, first)
        world.offer(only_two, second)
    world.fill()
    world.offer(both, first, second)
    while world.admission._claims.current is None:
        world.release(0)
        world.fill()
    holder, held = world.running[0]
    world.admission.close(holder, held.step, world.now + 500)
    world.closed[held.limits[0].name, ""] = world.now + 500
    assert [execution for execution, _ in world.fill()] == [only_two if holder is only_one else only_one]
    assert world.admission._claims.current is None
    assert world.admission.wake_at() == world.now + 500


def test_a_rate_is_kept_in_every_stretch_of_its_time() -> None:
    world = World(100, [Execution(0)])
    for _ in range(60):
        world.offer(world.executions[0], limit("r", "", Numbers(rate=7, per_ms=1_000)))
    while world.waiting:
        for _ in world.fill():
            world.release(0)
        at = world.admission.wake_at()
        world.now = max(world.now + 1, at or 0)
    starts = [at for at, _ in world.starts]
    assert all(sum(at <= other < at + 1_000 for other in starts) <= 7 for at in starts)
    assert starts[-1] - starts[0] <= 8_100


def test_ten_thousand_steps_over_a_thousand_keys_cost_a_few_looks_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a limit is not looked at while it waits, however much waits."""
    from treadle.drivers.local.admission.gates import Gate

    looks = 0
    real = Gate.shut_until

    def count(self: Gate, now: int, *, for_claim: bool = False) -> int:
        nonlocal looks
        looks += 1
        return real(self, now, for_claim=for_claim)

    monkeypatch.setattr(Gate, "shut_until", count)
    admission, executions = Admission(50), [Execution(number) for number in range(1_000)]
    crm = limit("crm", "", Numbers(concurrency=20))
    for number in range(10_000):
        one = executions[number * 7 % 1_000]
        admission.offer(one, [step(f"s{number}", limit("tenant", f"t{number % 1_000}"), crm, order=number)])
    done, running = 0, []
    while (found := admission.choose()) is not None or running:
        if found is not None:
            running.append(found)
            done += 1
        else:
            admission.release(*running.pop(0))
    assert done == 10_000
    assert looks <= 12 * done


def test_definitions_that_differ_share_the_smaller_number_and_the_engine_overrules_both() -> None:
    one = Execution(0)
    for own, most in ((None, 2), ({"crm": Numbers(concurrency=4)}, 4)):
        world = World(10, [one], own)
        for number in (3, 2, 5):
            for _ in range(3):
                world.admission.offer(one, [step(f"{number}-{_}", limit("crm", "", Numbers(concurrency=number)))])
        assert len(list(iter(world.admission.choose, None))) == most


def test_who_holds_a_limit_and_until_when_it_is_closed_is_told() -> None:
    first, second = Execution(0), Execution(2)
    world = World(5, [first, second])
    world.offer(first, limit("tenant", '"acme"'), limit("often"))
    world.fill()
    ready = world.offer(second, limit("tenant", '"acme"'))
    world.fill()
    held = world.admission.held_up(second, ready.step)
    assert held == ('tenant["acme"]', 1, (("x0", "s1"),), None)
    assert world.admission.close(first, "s1", 5_000) == ("often",)
    world.closed["often", ""] = 5_000
    late = world.offer(second, limit("often"))
    world.fill()
    assert world.admission.held_up(second, late.step) == ("often", None, (("x0", "s1"),), 5_000)
    assert world.admission.held_up(second, "unknown") is None


def test_a_step_that_did_not_start_after_all_uses_up_no_rate() -> None:
    world = World(5, [Execution(0)])
    for _ in range(2):
        world.offer(world.executions[0], limit("burst"))
    _refuse_one(world)
    assert len(world.fill()) == 1
    assert world.fill() == []


def test_a_step_that_is_no_longer_ready_is_forgotten_while_it_waits_for_a_limit() -> None:
    one = Execution(0)
    world = World(5, [one])
    for _ in range(3):
        world.offer(one, limit("one"))
    world.fill()
    world.admission.keep(one, {"s3": 0})
    del world.waiting[one, "s2"]
    world.release(0)
    assert [ready.step for _, ready in world.fill()] == ["s3"]
    world.release(0)
    assert one not in world.admission


def test_the_smaller_number_holds_only_while_a_step_that_says_it_is_there() -> None:
    """Also where there is never a moment at which nobody holds the limit."""
    old, new = Execution(0), Execution(2)
    world = World(50, [old, new])
    small, large = Numbers(concurrency=1, rate=5, per_ms=60_000), Numbers(concurrency=10, rate=50, per_ms=60_000)
    world.admission.offer(old, [step("old", limit("crm", "", small))])
    assert world.admission.choose() == (old, "old")
    world.admission.offer(new, [step(f"new{n}", limit("crm", "", large)) for n in range(30)])
    assert world.admission.choose() is None
    world.admission.release(old, "old")
    begun = list(iter(world.admission.choose, None))
    assert len(begun) == 10
    for one in begun[:9]:
        world.admission.release(*one)
    assert len(list(iter(world.admission.choose, None))) == 9


def test_an_execution_that_has_ended_is_let_go_of_although_others_wait_without_end() -> None:
    """Memory: what came and went leaves nothing behind while a backlog never ends."""

    class Watched(Execution):
        pass

    admission, seen = Admission(1), []
    backlog = deque(Watched(number) for number in range(5))
    for one in backlog:
        admission.offer(one, [step("s")])
    for number in range(500):
        one = Watched(number)
        seen.append(weakref.ref(one))
        admission.offer(one, [step("s")])
        del one
        found = admission.choose()
        assert found is not None
        admission.release(*found)
        del found
    del backlog
    gc.collect()
    assert sum(one() is not None for one in seen) < 200


def test_how_limits_stand_is_told_with_those_that_nobody_asked_for() -> None:
    one = Execution(0)
    world = World(5, [one], {"svc": Numbers(concurrency=2), "other": Numbers(rate=3, per_ms=500)})
    for _ in range(3):
        world.offer(one, limit("often", "k"), service="svc")
    world.fill()
    standings = {(found.name, found.key): found for found in world.admission.standings()}
    assert set(standings) == {("svc", ""), ("other", ""), ("often", "k")}
    assert standings["other", ""] == ("other", "", None, 3, 500, (), 0, 0)
    assert standings["svc", ""] == ("svc", "", 2, None, 1_000, (("x0", "s1"), ("x0", "s2")), 1, 0)
    assert standings["often", "k"][-2:] == (1, world.now + 100)
