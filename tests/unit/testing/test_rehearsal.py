"""Workflows rehearsed on a virtual clock, as users type it."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import treadle
from treadle import StepContext, ValidationError, action
from treadle.testing import RehearsalError, by_step, never, outcomes, raises, rehearse, returns

if TYPE_CHECKING:
    from pathlib import Path

    from treadle.testing import Rehearse

ORDER = """
id: order
nodes:
  - id: lookup
    config: {service: crm, action: find, parameters: {email: "${input.email}"}}
  - id: charge
    config:
      service: payments
      action: charge
      parameters: {customer: "${lookup.id}", amount: "${input.amount * 2}"}
      retry: {max_attempts: 5, initial_delay: 1s, non_retryable: [CardDeclined]}
  - {id: ship, config: {service: warehouse, action: ship}}
  - {id: sorry, config: {service: mail, action: send}}
connections:
  - {source: lookup, target: charge}
  - {source: charge, target: ship, condition: "charge.approved"}
  - {source: charge, target: sorry, condition: else}
  - {source: charge, target: sorry, outcome: failure}
"""
INPUT = {"email": "ada@example.org", "amount": 40}


@action("crm.find")
def find(email: str) -> dict[str, str]:
    return {"id": f"c-{email}"}


@action("payments.charge")
async def charge(customer: str, amount: float, note: str = "") -> dict[str, Any]:
    raise NotImplementedError("a test must not charge anyone")


@action("warehouse.ship")
def ship() -> str:
    return "shipped"


pytest_plugins = ["pytester"]

SHOP = [find, charge, ship]
APPROVED = {"payments.charge": {"id": "p1", "approved": True}}


def one_step(**config: Any) -> dict[str, Any]:
    return {"id": "w", "nodes": [{"id": "a", "config": {"action": "act", **config}}]}


def _on_file(path: str | Path) -> str:
    async def look() -> str:
        async with treadle.Client(path) as client:
            return (await client.state_manager.get_execution_state("rehearsal")).status.value

    return asyncio.run(look())


def test_an_order_takes_its_path_with_one_action_replaced(treadle_run: Rehearse) -> None:
    run = treadle_run(
        ORDER,
        INPUT,
        actions=SHOP,
        replace={"payments.charge": lambda customer, amount, note="": {"id": "p1", "approved": True}},
        strict=True,
    )
    assert run.status == "COMPLETED"
    assert run.path == ["lookup", "charge", "ship"]
    assert run.skipped == ["sorry"]
    assert run.attempts == {"lookup": 1, "charge": 1, "ship": 1}
    assert run.outputs == {
        "lookup": {"id": "c-ada@example.org"}, "charge": {"id": "p1", "approved": True}, "ship": "shipped",
    }  # fmt: skip
    assert [call.parameters for call in run.calls("payments.charge")] == [
        {"customer": "c-ada@example.org", "amount": 80}
    ]
    assert (run.output, run.error, run.errors, run.elapsed) == ({"ship": "shipped"}, None, {}, timedelta(0))


def test_a_day_of_retries_takes_less_than_a_second(treadle_run: Rehearse) -> None:
    began = time.monotonic()
    retry = {"max_attempts": 25, "initial_delay": "1h", "backoff": 1, "max_delay": "1h"}
    run = treadle_run(one_step(retry=retry), replace={"act": outcomes(*[TimeoutError("slow")] * 24, "done")})
    assert (run.status, run.attempts, run.output) == ("COMPLETED", {"a": 25}, "done")
    assert run.wait_seconds("a") == [3600.0] * 24
    assert run.elapsed == timedelta(days=1)
    assert time.monotonic() - began < 1


def test_a_year_of_one_wait_is_one_jump(treadle_run: Rehearse) -> None:
    run = treadle_run({"id": "w", "nodes": [{"id": "a", "type": "wait", "duration": "365d"}]})
    assert (run.status, run.path, run.elapsed) == ("COMPLETED", ["a"], timedelta(days=365))


@pytest.mark.parametrize("place", [":memory:", "log.db"])
def test_two_runs_of_one_test_have_one_history(tmp_path: Path, place: str) -> None:
    slower: list[bool] = []

    def lively(name: int) -> Any:
        def sync(**_: Any) -> int:
            time.sleep((name if slower else 12 - name) / 500)  # what a thread takes must not show
            return name

        async def other(**_: Any) -> Any:
            await asyncio.sleep(name % 3 / 10)
            return await asyncio.to_thread(sync)

        return other if name % 2 else sync

    document = {
        "id": "wide",
        "nodes": [
            {"id": f"n{number}", "action": f"act{number}", "retry": {"initial_delay": "7s", "jitter": "full"}}
            for number in range(12)
        ],
    }
    replace = {f"act{number}": lively(number) for number in range(1, 12)}

    def whole(folder: Path) -> Any:
        folder.mkdir()
        store = place if place == ":memory:" else folder / place
        first = outcomes(TimeoutError("slow"), TimeoutError("slow"), 0)
        with rehearse(document, replace={**replace, "act0": first}, store=store, until=timedelta(seconds=1)) as run:
            run.pause()
            run.crash()
            run.resume()
            assert run.status == "COMPLETED"
            return run.history, run.calls(), run.wait_seconds("n0")

    first = whole(tmp_path / "a")
    slower.append(True)
    assert first == whole(tmp_path / "b")


def test_time_does_not_pass_while_a_sync_action_runs_on_its_thread(treadle_run: Rehearse) -> None:
    names: list[str] = []

    def slow() -> str:
        names.append(threading.current_thread().name)
        time.sleep(0.05)  # really
        return "done"

    run = treadle_run(one_step(timeout="10ms"), replace={"act": slow})
    assert (run.status, run.output, run.attempts, run.elapsed) == ("COMPLETED", "done", {"a": 1}, timedelta(0))
    assert names != [threading.current_thread().name]


def test_nor_while_an_async_one_waits_for_a_thread_beside_a_timer(treadle_run: Rehearse) -> None:
    async def slow() -> str:
        async with asyncio.timeout(1):
            await asyncio.to_thread(time.sleep, 0.05)
        return "done"

    assert treadle_run(one_step(), replace={"act": slow}).output == "done"


def test_a_later_attempt_has_its_whole_timeout(treadle_run: Rehearse) -> None:
    run = treadle_run(one_step(timeout="10s"), replace={"act": outcomes(returns(1, after=11), returns(2, after=9))})
    assert (run.status, run.output, run.attempts) == ("COMPLETED", 2, {"a": 2})


def test_an_attempt_that_is_too_long_times_out_in_virtual_time(treadle_run: Rehearse) -> None:
    run = treadle_run(
        one_step(timeout="1h", retry={"max_attempts": 2, "initial_delay": "1m"}),
        replace={"act": outcomes(never(), returns("late", after=timedelta(hours=2)))},
    )
    assert (run.status, run.errors, run.attempts) == ("FAILED", {"a": "StepTimeout"}, {"a": 2})
    assert run.elapsed == timedelta(hours=2, minutes=1)


def test_an_execution_times_out_in_virtual_time(treadle_run: Rehearse) -> None:
    run = treadle_run({**one_step(), "timeout": "3d"}, replace={"act": never()})
    assert (run.status, run.elapsed) == ("TIMED_OUT", timedelta(days=3))


def test_the_deadline_of_a_context_is_in_virtual_time(treadle_run: Rehearse) -> None:
    seen: list[Any] = []

    async def act(context: StepContext) -> None:
        seen.append(context.deadline)

    run = treadle_run(one_step(timeout="1m"), replace={"act": act})
    assert seen == [run.now + timedelta(minutes=1)]


def test_real_sockets_are_waited_for(treadle_run: Rehearse) -> None:
    async def talk() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            said = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return said.decode()

    run = treadle_run(one_step(timeout="20s"), replace={"act": talk})
    assert (run.status, run.output) == ("COMPLETED", "hello\n")
    assert run.elapsed < timedelta(seconds=20)


async def test_it_works_in_an_async_test_too(treadle_run: Rehearse) -> None:
    run = treadle_run(one_step(retry={"initial_delay": "1m"}), replace={"act": outcomes(OSError("x"), "done")})
    assert (run.output, run.elapsed) == ("done", timedelta(minutes=1))
    await asyncio.sleep(0)
    run.crash()
    assert run.output == "done"


def test_missing_input_pauses_and_resume_goes_on(treadle_run: Rehearse) -> None:
    run = treadle_run(ORDER, {"amount": 1}, actions=SHOP, replace=APPROVED)
    assert (run.status, run.waiting_for, run.path) == ("PAUSED", ["input.email"], [])
    assert run.resume({"email": "a@b"}) is True
    assert (run.status, run.path, run.resume()) == ("COMPLETED", ["lookup", "charge", "ship"], False)


def test_a_pause_in_the_middle_keeps_what_was_on_its_way(treadle_run: Rehearse) -> None:
    run = treadle_run(ORDER, INPUT, actions=SHOP, replace=APPROVED, until="charge")
    assert (run.status, run.state.steps["charge"].status, len(run.calls("payments.charge"))) == (
        "RUNNING",
        "RUNNING",
        1,
    )
    assert run.pause() is True
    assert (run.status, run.state.steps["charge"].status, run.path) == ("PAUSED", "COMPLETED", ["lookup", "charge"])
    run.advance(timedelta(days=1))
    assert (run.status, run.elapsed) == ("PAUSED", timedelta(days=1))
    run.resume()
    assert (run.status, run.path) == ("COMPLETED", ["lookup", "charge", "ship"])


def test_a_cancel_in_the_middle_cancels_what_runs(treadle_run: Rehearse) -> None:
    run = treadle_run(ORDER, INPUT, actions=SHOP, replace={"payments.charge": never()}, until="charge")
    assert run.cancel("enough") is True
    assert (run.status, run.state.steps["charge"].status, run.cancel()) == ("CANCELLED", "CANCELLED", False)
    assert run.error is not None
    assert "enough" in run.error.message


def test_advance_goes_as_far_as_it_says(treadle_run: Rehearse) -> None:
    replace = {"act": outcomes(OSError("1"), OSError("2"), "done")}
    run = treadle_run(one_step(retry={"initial_delay": "10s"}), replace=replace, until=timedelta(0))
    assert (run.attempts, run.state.steps["a"].status) == ({"a": 1}, "WAITING")
    run.advance(9.999)
    assert run.attempts == {"a": 1}
    run.advance(0.001)
    assert (run.attempts, run.elapsed) == ({"a": 2}, timedelta(seconds=10))
    run.go_on(until=("a", 3))
    assert (run.attempts, run.elapsed) == ({"a": 3}, timedelta(seconds=30))
    run.go_on()
    assert run.output == "done"


@pytest.mark.parametrize("place", [":memory:", "log.db"])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_crash_keeps_what_was_recorded_and_runs_again_what_was_not(
    tmp_path: Path, place: str, is_async: bool
) -> None:
    done: list[str] = []

    async def pay(customer: str, amount: float, note: str = "") -> dict[str, Any]:
        done.append("paid")
        try:
            await asyncio.sleep(3600)
        finally:
            done.append("finally")
        return {"id": "p1", "approved": True}

    def pay_at_once(customer: str, amount: float, note: str = "") -> dict[str, Any]:
        done.append("paid")
        return {"id": "p1", "approved": True}

    store = place if place == ":memory:" else tmp_path / place
    replace = {"payments.charge": pay if is_async else pay_at_once}
    with rehearse(ORDER, INPUT, actions=SHOP, replace=replace, store=store, until="charge") as run:
        assert done == ["paid"]
        run.crash(until="charge")
        assert done == ["paid", "paid"]
        assert run.outputs == {"lookup": {"id": "c-ada@example.org"}}
        run.crash()
        assert (run.status, run.path) == ("COMPLETED", ["lookup", "charge", "ship"])
        assert run.attempts == {"lookup": 1, "charge": 3, "ship": 1}
        assert done == ["paid", "paid", "paid", *(["finally"] if is_async else [])]
        assert [one.kind for one in run.history].count("AttemptInterrupted") == 2
    if place != ":memory:":
        assert _on_file(store) == "COMPLETED"


APPROVAL = {
    "id": "approval",
    "nodes": [
        {"id": "ask", "type": "input", "timeout": "7d", "default": {"ok": False}},
        {"id": "pay", "action": "act", "retry": {"initial_delay": "1m"}},
        {"id": "no", "type": "set", "values": "nobody said so"},
    ],
    "connections": [
        {"source": "ask", "target": "pay", "condition": "ask.ok"},
        {"source": "ask", "target": "no", "condition": "else"},
    ],
}


def test_a_person_is_waited_for_answers_or_is_too_late(treadle_run: Rehearse) -> None:
    run = treadle_run(APPROVAL, replace={"act": outcomes(OSError("down"), "paid")})
    assert (run.status, run.path, run.statuses["ask"], run.elapsed) == ("RUNNING", ["ask"], "WAITING", timedelta(0))
    run.advance(timedelta(days=6))
    run.crash()
    assert run.submit("ask", {"ok": True}) is True
    assert (run.status, run.path, run.elapsed) == ("COMPLETED", ["ask", "pay"], timedelta(days=6, minutes=1))
    late = treadle_run(APPROVAL, replace={"act": "paid"})
    late.advance(timedelta(days=7))
    assert (late.status, late.path) == ("COMPLETED", ["ask", "no"])
    ended = treadle_run(APPROVAL, replace={"act": "paid"})
    assert (ended.terminate("enough"), ended.status) == (True, "CANCELLED")
    with pytest.raises(ValidationError, match="step 'ask' calls no action to stop at"):
        treadle_run(APPROVAL, until="ask")


def test_a_wrong_call_is_one_as_ever(treadle_run: Rehearse) -> None:
    for wrong in (lambda: None, never):
        run = treadle_run(one_step(parameters={"x": 1}), actions=[{"act": wrong}])
        assert (run.status, run.errors, run.attempts) == ("FAILED", {"a": "TypeError"}, {"a": 1})


def test_what_is_raised_by_name_is_retried_or_not(treadle_run: Rehearse) -> None:
    declined = treadle_run(ORDER, INPUT, actions=SHOP, replace={
        "payments.charge": raises("CardDeclined", "no"), "mail.send": None,
    })  # fmt: skip
    assert (declined.path, declined.errors) == (["lookup", "charge", "sorry"], {"charge": "CardDeclined"})
    assert declined.status == "COMPLETED"
    for permanent, attempts in ((True, 1), (False, 3)):
        run = treadle_run(one_step(), replace={"act": raises("Odd", permanent=permanent)})
        assert (run.attempts, run.errors) == ({"a": attempts}, {"a": "Odd"})
    with pytest.raises(ValidationError, match="goes with the name"):
        raises(OSError, permanent=True)
    late = treadle_run(one_step(), replace={"act": outcomes(raises(OSError, "x", retry_after=90), returns(1, after=2))})
    assert (late.wait_seconds("a"), late.elapsed) == ([90.0], timedelta(seconds=92))


def test_steps_of_one_action_may_be_replaced_apart(treadle_run: Rehearse) -> None:
    document = {"id": "w", "nodes": [{"id": one, "action": "act"} for one in "ab"]}
    run = treadle_run(document, replace={"act": by_step({"a": 1, "b": lambda context: context.step})})
    assert run.outputs == {"a": 1, "b": "b"}


def test_every_replacement_that_does_not_fit_is_named_at_once() -> None:
    replace = {
        "payments.chrge": None,
        "payments.charge": lambda customer, total: None,
        "crm.find": by_step({"lokup": 1, "lookup": lambda: None}),
        "mail.send": lambda to: None,
    }
    with pytest.raises(ValidationError) as caught:
        rehearse(ORDER, INPUT, actions=SHOP, replace=replace)
    charges = "payments.charge(customer: str, amount: float, note: str = '') takes"
    finds = "crm.find(email: str) takes"
    assert str(caught.value).splitlines() == [
        "replace['payments.chrge']: there is no such action; did you mean 'payments.charge'?",
        f"replace['payments.charge']: (customer, total) does not take 'amount', 'note', which the action {charges}",
        f"replace['payments.charge']: (customer, total) needs 'total', which is not what the action {charges}",
        "replace['crm.find']: no step 'lokup' calls it; did you mean 'lookup'?",
        f"replace['crm.find']: ['lookup'] () does not take 'email', which the action {finds}",
        "replace['mail.send']: (to) needs 'to', which is not what the node 'sorry' passes",
    ]


def test_without_a_real_action_a_replacement_must_take_what_the_nodes_pass() -> None:
    with pytest.raises(ValidationError, match=r"\(\) does not take 'x', which the node 'a' passes"):
        rehearse(one_step(parameters={"x": 1}), replace={"act": lambda: None})


def test_what_is_replaced_and_never_called_is_named_where_the_test_is_strict() -> None:
    replace = {**APPROVED, "mail.send": None}
    rehearse(ORDER, INPUT, actions=SHOP, replace=replace).close()
    with pytest.raises(RehearsalError, match="replaced and never called: 'mail.send'\norder: COMPLETED"):
        rehearse(ORDER, INPUT, actions=SHOP, replace=replace, strict=True)
    with pytest.raises(ValidationError, match="no node of the workflow calls it"):
        rehearse(one_step(), actions=SHOP, replace={"act": 1, "crm.find": 1}, strict=True)
    rehearse(one_step(), actions=SHOP, replace={"act": 1, "crm.find": 1}).close()


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ({}, "step 'a' calls 'act', which has no action and no replacement"),
        ({"act": outcomes(OSError("x"))}, "step 'a' calls 'act' 2 times, and its replacement has 1 outcomes"),
        ({"act": never()}, "nothing is left that could happen; still running: a\nw: RUNNING"),
    ],
)
def test_what_cannot_go_on_ends_the_test_with_its_reason(replace: dict[str, Any], message: str) -> None:
    with pytest.raises(RehearsalError) as caught:
        rehearse(one_step(), replace=replace)
    assert message in str(caught.value)


def test_a_test_has_patience_for_so_long() -> None:
    async def busy() -> None:
        while True:  # noqa: ASYNC110 - as a careless action looks again and again
            await asyncio.sleep(1)

    with pytest.raises(RehearsalError, match=r"it takes more than 0\.1 s of real time; still running: a"):
        rehearse(one_step(), replace={"act": busy}, patience=0.1)


def test_where_a_verb_shall_stop_must_be_there_and_be_reached(treadle_run: Rehearse) -> None:
    with pytest.raises(ValidationError, match="the workflow has no step 'b'; it has 'a'"):
        treadle_run(one_step(), until="b")
    with pytest.raises(RehearsalError, match=r"the execution rests, and step 'a' \(attempt 2\) was not called"):
        treadle_run(one_step(), replace={"act": 1}, until=("a", 2))
    run = treadle_run(one_step(), replace={"act": 1})
    run.close()
    with pytest.raises(RehearsalError, match="closed"):
        run.crash()


def test_an_input_that_is_refused_is_refused_as_ever() -> None:
    with pytest.raises(ValidationError, match="required"):
        rehearse({**one_step(), "input_schema": {"required": ["x"]}}, {}, replace={"act": 1})


def test_a_failing_comparison_tells_the_story(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(treadle_run):
            run = treadle_run({"id": "w", "nodes": [{"id": "a", "action": "act"}]}, replace={"act": OSError("down")})
            assert run.status == "COMPLETED"
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:asyncio", "-vv")
    done.assert_outcomes(failed=1)
    told = [
        "*'FAILED' == 'COMPLETED'*",
        "*w: FAILED*",
        "*0.000 s  AttemptFailed a #1 (OSError: down; next attempt in 1 s)*",
    ]
    done.stdout.fnmatch_lines([*told, "*3.000 s  StepFailed a #3 (OSError: down)*"])


def test_a_path_beside_the_test_is_found_and_projects_say_their_actions_once(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def treadle_actions():
            return [{"act": lambda: 7}]
        """
    )
    folder = pytester.mkdir("inner")
    (folder / "w.yaml").write_text("id: w\nnodes: [{id: a, action: act}]")
    (folder / "test_it.py").write_text("def test_it(treadle_run):\n    assert treadle_run('w.yaml').output == 7")
    pytester.runpytest_subprocess("-p", "no:asyncio").assert_outcomes(passed=1)


# -- bodies


EACH = {
    "id": "w",
    "nodes": [
        {
            "id": "each",
            "type": "map",
            "items": "${input.xs}",
            "tolerate": 1,
            "body": {
                "nodes": [
                    {"id": "charge", "action": "charge", "parameters": {"x": "${item}"}, "retry": {"max_attempts": 2}},
                    {
                        "id": "poll",
                        "type": "loop",
                        "until": "previous",
                        "body": {
                            "nodes": [
                                {"id": "w", "type": "wait", "duration": "1h"},
                                {"id": "look", "action": "look", "parameters": {"charge": "${charge}"}},
                            ],
                            "connections": [{"source": "w", "target": "look"}],
                        },
                    },
                ],
                "connections": [{"source": "charge", "target": "poll"}],
            },
        },
        {"id": "both", "type": "parallel", "body": {"nodes": [{"id": "a", "action": "charge"}]}},
    ],
    "connections": [{"source": "each", "target": "both"}],
}


def test_steps_of_bodies_are_replaced_by_step_and_by_node(treadle_run: Rehearse) -> None:
    run = treadle_run(
        EACH,
        {"xs": [7, 8, 9]},
        replace={
            "charge": by_step(
                {"each.charge": "all", "each[1].charge": raises("Declined", permanent=True), "both.a": "other"}
            ),
            "look": by_step({"each.poll.look": True, "each[0].poll[0].look": False, "each[0].poll[1].look": False}),
        },
        strict=True,
    )
    assert run.status == "COMPLETED"
    assert run.output == "other"
    assert run.outputs["each"] == [True, None, True]
    assert run.errors == {"each[1].charge": "Declined"}
    assert run.elapsed == timedelta(hours=3)
    assert run.path[:4] == ["each", "each[0].charge", "each[1].charge", "each[2].charge"]
    assert [call.step for call in run.calls("look")] == [
        "each[0].poll[0].look", "each[2].poll[0].look", "each[0].poll[1].look", "each[0].poll[2].look",
    ]  # fmt: skip
    assert run.state.steps["each"].items.failed == 1  # type: ignore[union-attr]


def test_outcomes_are_given_to_each_step_of_a_body_from_the_first(treadle_run: Rehearse) -> None:
    slow = outcomes(TimeoutError("slow"), 1)
    run = treadle_run(EACH, {"xs": [7, 8]}, replace={"charge": slow, "look": True})
    assert run.attempts == {
        "each[0].charge": 2, "each[0].poll[0].look": 1, "each[1].charge": 2, "each[1].poll[0].look": 1, "both.a": 2,
    }  # fmt: skip
    assert run.wait_seconds("each[1].charge") == [1]


def test_until_stops_at_a_step_of_a_body_and_a_crash_runs_only_what_was_in_flight_again(treadle_run: Rehearse) -> None:
    run = treadle_run(EACH, {"xs": [7, 8, 9]}, replace={"charge": 1, "look": True}, until="each[2].poll[0].look")
    assert (run.statuses["each"], run.statuses["each[2].poll[0].look"]) == ("RUNNING", "RUNNING")
    run.crash()
    assert run.status == "COMPLETED"
    assert run.attempts["each[0].charge"] == 1
    assert run.attempts["each[2].poll[0].look"] == 2


def test_the_story_says_how_far_maps_and_loops_are(treadle_run: Rehearse) -> None:
    story = treadle_run(EACH, {"xs": [7, 8]}, replace={"charge": 1, "look": True}).story()
    for line in ("GroupStarted each (items: 2)", "BodyStarted each[0] to [1]", "BodyCompleted each[1]"):
        assert f"  {line}\n" in story


def test_a_rehearsal_rests_where_a_person_in_a_body_or_an_event_is_waited_for(treadle_run: Rehearse) -> None:
    ask = {"id": "ask", "type": "input", "schema": {"type": "string"}}
    told = {"id": "told", "type": "event", "event": "e", "timeout": "1d", "continue_on_error": True}
    document = {
        "id": "w",
        "nodes": [{"id": "each", "type": "map", "items": [1, 2], "body": {"nodes": [ask]}}, told],
    }
    run = treadle_run(document)
    assert run.statuses == {"each": "RUNNING", "each[0].ask": "WAITING", "each[1].ask": "WAITING", "told": "WAITING"}
    assert run.elapsed == timedelta(0)
    assert run.submit("each[1].ask", "b")
    assert not run.submit("each[1].ask", "c")
    run.submit("each[0].ask", "a")
    assert run.outputs["each"] == ["a", "b"]
    run.advance(timedelta(days=1))
    assert (run.status, run.errors) == ("COMPLETED", {"told": "StepTimeout"})


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("each[0].chrge", "no step 'each[0].chrge' calls it; did you mean 'each[0].charge'?"),
        ("charge", "no step 'charge' calls it; did you mean 'each[0].charge'?"),
        ("each[0].poll.charge", "no step 'each[0].poll.charge' calls it"),
        ("both[0].a", "no step 'both[0].a' calls it; did you mean 'both.a'?"),
        ("each", "no step 'each' calls it"),
    ],
)
def test_a_replacement_of_a_step_that_there_is_not_is_told(step: str, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        rehearse(EACH, {"xs": []}, replace={"charge": by_step({step: 1}), "look": 1})
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("each.charge", "no step 'each.charge'; it has 'each', 'each[0].charge', 'each[0].poll'"),
        ("both[0].a", "no step 'both[0].a'"),
        ("each[0]", "no step 'each[0]'"),
        ("each[0].poll", "step 'each[0].poll' calls no action to stop at"),
    ],
)
def test_until_names_one_step(until: str, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        rehearse(EACH, {"xs": [1]}, replace={"charge": 1, "look": 1}, until=until)


def test_workflows_that_steps_run_are_rehearsed_with_them() -> None:
    inner = {
        "id": "inner",
        "nodes": [
            {"id": "w", "type": "wait", "duration": "1h"},
            {"id": "a", "action": "double", "parameters": {"n": 4}},
        ],
        "connections": [{"source": "w", "target": "a"}],
    }
    outer = {"id": "outer", "nodes": [{"id": "c", "type": "workflow", "workflow": "inner"}]}
    with rehearse(outer, workflows=[inner], replace={"double": lambda n: n * 2}) as run:
        assert (run.status, run.output, run.calls("double")[0].step) == ("COMPLETED", 8, "c/a")
        assert run.elapsed == timedelta(hours=1)
    with pytest.raises(ValidationError, match='runs the workflow "inner", which is not registered'):
        rehearse(outer)


KID = {
    "id": "kid",
    "nodes": [
        {"id": "ask", "type": "input"},
        {"id": "act", "action": "act", "parameters": {"x": "${ask}"}, "retry": {"max_attempts": 2}},
    ],
    "connections": [{"source": "ask", "target": "act"}],
}
PARENT = {
    "id": "parent",
    "nodes": [
        {"id": "one", "type": "workflow", "workflow": "kid"},
        {"id": "paid", "type": "event", "event": "paid", "key": "${input.order}"},
        {"id": "each", "type": "map", "items": [{}, {}], "workflow": "kid"},
        {"id": "beside", "type": "workflow", "workflow": "kid", "wait_for": False},
        {"id": "end", "action": "end", "parameters": {"a": "${one}", "b": "${paid}", "c": "${each}"}},
    ],
    "connections": [{"source": name, "target": "end"} for name in ("one", "paid", "each")],
}


@pytest.mark.parametrize("place", ["memory", "file"])
def test_what_steps_have_started_is_looked_at_and_driven_by_name(tmp_path: Path, place: str) -> None:
    act = by_step({"one/act": outcomes(OSError("down"), 5, 6), "each.kid/act": lambda x: x * 2, "beside/act": never()})
    replace = {"act": act, "end": lambda a, b, c: [a, b, c]}
    store: Any = ":memory:" if place == "memory" else tmp_path / "log.db"
    with rehearse(PARENT, {"order": 7}, workflows=[KID], replace=replace, store=store) as run:
        assert (run.status, run.child("one").path, run.child("one").status) == ("RUNNING", ["ask"], "RUNNING")
        assert (run.send("paid", 8, "not mine"), run.send("paid", 7, {"eur": 1})) == (False, True)
        assert run.outputs["paid"] == {"eur": 1}
        for name in ("each[0].kid", "each[1].kid"):
            assert run.child(name).submit("ask", 4)
        assert run.child("one").submit("ask", 3, until=("one/act", 2))
        assert (run.child("one").attempts, run.child("one").wait_seconds("act")) == ({"act": 2}, [1.0])
        run.crash()
        assert (run.status, run.output["end"]) == ("COMPLETED", [6, {"eur": 1}, [8, 8]])
        beside = run.child("beside")
        assert beside.status == "RUNNING"  # nobody waits for it, and it is part of the story
        assert "beside runs kid: RUNNING" in run.story()
        assert "one runs kid: COMPLETED" in run.story()
        assert (beside.pause(), beside.submit("ask", 1), beside.status) == (True, True, "PAUSED")
        assert (beside.resume(until="beside/act"), beside.cancel("enough"), beside.status) == (True, True, "CANCELLED")
        assert [one.step for one in run.calls("act")] == [
            *("each[0].kid/act", "each[1].kid/act", "one/act", "one/act", "one/act", "beside/act"),
        ]  # fmt: skip
        with pytest.raises(ValidationError, match=re.escape("step 'two' has started no execution; those that have: ")):
            run.child("two")


def test_an_event_that_comes_early_is_kept_and_two_runs_name_their_events_alike() -> None:
    def histories() -> list[Any]:
        with rehearse(PARENT, {"order": 7}, workflows=[KID], replace={"act": 1, "end": 2}) as run:
            run.send("else")
            run.send("paid", 7)
            return [(one.kind, one.step, one.at, one.data) for one in run.history]

    assert histories() == histories()
    late = {
        "id": "late",
        "nodes": [{"id": "w", "type": "wait", "duration": "1h"}, {"id": "e", "type": "event", "event": "go"}],
        "connections": [{"source": "w", "target": "e"}],
    }
    with rehearse(late, until=timedelta(0)) as run:
        assert (run.send("go", data="early", until=timedelta(0)), run.elapsed) == (False, timedelta(0))
        run.go_on()
        assert (run.status, run.output, run.elapsed) == ("COMPLETED", "early", timedelta(hours=1))


def test_a_step_is_cancelled_and_a_failed_execution_tried_again() -> None:
    document = {
        "id": "w",
        "nodes": [{"id": "a", "action": "a", "retry": {"max_attempts": 1}}, {"id": "ask", "type": "input"}],
    }
    with rehearse(document, replace={"a": outcomes(OSError("down"), 2)}) as run:
        assert (run.status, run.errors) == ("FAILED", {"a": "OSError"})
        assert run.retry()
        assert (run.status, run.outputs) == ("RUNNING", {"a": 2})
        assert run.cancel_step("ask")
        assert (run.status, run.statuses) == ("COMPLETED", {"a": "COMPLETED", "ask": "CANCELLED"})
        assert not run.retry()


def test_a_paused_rehearsal_rests_although_a_timer_runs_beside_one_who_is_asked() -> None:
    document = {"id": "w", "nodes": [{"id": "t", "type": "wait", "duration": "1h"}, {"id": "ask", "type": "input"}]}
    with rehearse(document, until=timedelta(minutes=1)) as run:
        assert run.pause()
        assert (run.status, run.elapsed) == ("PAUSED", timedelta(minutes=1))
        assert run.resume()
        assert (run.status, run.elapsed) == ("RUNNING", timedelta(hours=1))


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ({"act": lambda y: y}, "does not take 'x', which the node 'act' of the workflow 'kid' passes"),
        ({"act": by_step({"one/ask": 1})}, "no step 'one/ask' calls it"),
        ({"act": by_step({"one/act": lambda: 1})}, "does not take 'x', which the node 'one/act' passes"),
        ({"act": by_step({"each[0].other/act": 1})}, "no step 'each[0].other/act' calls it"),
    ],
)
def test_replacements_are_held_against_what_steps_run(replace: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        rehearse(PARENT, {"order": 7}, workflows=[KID], replace={"end": 1, **replace})


def test_projects_say_once_which_workflows_their_steps_run(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", kid="id: kid\nnodes: [{id: a, action: a}]\n")
    pytester.makefile(".yaml", outer="id: outer\nnodes: [{id: k, type: workflow, workflow: kid}]\n")
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def treadle_workflows():
            return ["kid.yaml"]
        """
    )
    pytester.makepyfile(
        """
        def test_it(treadle_run):
            assert treadle_run("outer.yaml", replace={"a": 1}).child("k").path == ["a"]

        def test_another(treadle_run):
            inner = {"id": "more", "nodes": [{"id": "a", "action": "a"}]}
            outer = {"id": "o", "nodes": [{"id": "k", "type": "workflow", "workflow": "more"}]}
            assert treadle_run(outer, workflows=[inner], replace={"a": 1}).child("k").path == ["a"]
        """
    )
    pytester.runpytest("-p", "no:asyncio", "-q").assert_outcomes(passed=2)
