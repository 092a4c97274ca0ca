"""The short form of `make chaos`: every programme, with few trials of each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from chaos.bugs import BUGS, SEND_FIRST, STALE_CLAIMS_KEEP, WRITE_APART, Bug, WrongFunction
from chaos.programmes import (
    broker,
    checker,
    database,
    delivery,
    faults,
    kill,
    orders,
    pause,
    paused_delivery,
    postmaster,
    steps,
    writes,
)
from chaos.rig import Rig, Verdict
from sqlalchemy import URL

SEED = int(os.environ.get("CHAOS_SEED", "20260101"))


@pytest.fixture
def rig(server_url: URL) -> Iterator[Rig]:
    with Rig(server_url.render_as_string(hide_password=False), SEED) as rig:
        yield rig


def _assert_kept(verdict: Verdict) -> None:
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    assert not verdict.broken, f"seed {SEED}: {verdict}"


def _skip_without_socket(server_url: URL) -> None:
    if "host" not in server_url.query:
        pytest.skip("the proxy stands in front of a Unix socket, and this server was given by TCP")


def test_adversaries_break_no_promise(rig: Rig) -> None:
    _assert_kept(checker.adversaries(rig, rounds=60))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.partition(":")[0])
def test_the_checker_catches(rig: Rig, bug: Bug | WrongFunction) -> None:
    assert checker.caught(rig, bug)


def test_transitions_in_any_order_of_their_statements_break_no_promise(rig: Rig) -> None:
    _assert_kept(orders.sample(rig, 40))


@pytest.mark.parametrize(
    ("sign", "meeting"),
    [
        ("fence dropped", ("claimed", (orders.RELEASE, orders.CLAIM_NEXT, orders.COMPLETE))),
        ("a claimed task can be", ("waiting", (orders.CLAIM_NEXT, orders.CLAIM_OF_ANY))),
        ("child locked first", ("claimed", (orders.COMPLETE_TWO, orders.CANCEL_STATEMENT))),
    ],
)
def test_orders_of_statements_catch(rig: Rig, sign: str, meeting: orders.Meeting) -> None:
    bug = next(bug for bug in BUGS if bug.name.startswith(sign))
    assert orders.caught(rig, bug, [meeting])


def test_kill_9_loses_and_doubles_nothing(rig: Rig) -> None:
    _assert_kept(kill.kill(rig, kills=6, fleet=2))


def test_deliveries_to_a_jira_that_lies_lose_and_double_nothing(rig: Rig) -> None:
    _assert_kept(delivery.delivery(rig, kills=6, sessions=2, tickets=40, fleet=2))


@pytest.mark.long
def test_deliveries_that_are_paused_double_only_in_the_window_and_say_so(rig: Rig) -> None:
    verdict = paused_delivery.paused(rig, pauses=4, at_once=4)
    _assert_kept(verdict)
    assert verdict.figures["issues doubled, each reported with its key"] != "0"
    assert verdict.figures["workers that warned of what they had created"] != "0"


@pytest.mark.long
def test_a_delivery_that_sends_before_it_looks_is_caught(rig: Rig) -> None:
    verdict = delivery.delivery(rig, kills=15, sessions=4, tickets=120, fleet=2, bug=SEND_FIRST)
    assert any('", "' in what for what in verdict.broken), verdict


def test_steps_that_were_kept_are_neither_lost_nor_run_again(rig: Rig) -> None:
    _assert_kept(steps.steps(rig, kills=4, fleet=2))


@pytest.mark.long
def test_steps_that_a_stale_claim_keeps_are_caught(rig: Rig) -> None:
    verdict = steps.steps(rig, kills=30, fleet=3, bug=STALE_CLAIMS_KEEP)
    assert any("had superseded" in what for what in verdict.broken), verdict


def test_rows_of_a_team_s_own_are_there_once_for_each_completed_task(rig: Rig) -> None:
    _assert_kept(writes.writes(rig, kills=3, restarts=1, fleet=2))


@pytest.mark.long
def test_rows_written_in_a_transaction_of_their_own_are_caught(rig: Rig) -> None:
    verdict = writes.writes(rig, kills=15, restarts=0, fleet=3, bug=WRITE_APART)
    assert any("its rows" in what for what in verdict.broken), verdict


def test_a_paused_worker_that_wakes_up_writes_nothing(rig: Rig) -> None:
    _assert_kept(pause.pause(rig, pauses=4, at_once=2))


def test_who_uses_a_killed_server_starts_it_again_and_loses_nothing(rig: Rig) -> None:
    _assert_kept(postmaster.restarts(rig, times=1, among=["two workers"]))


def test_cut_and_silent_connections_lose_nothing(rig: Rig, server_url: URL) -> None:
    _skip_without_socket(server_url)
    _assert_kept(database.cut_connections(rig, cuts=5, silences=1))


def test_starts_beside_a_worker_reach_it_whatever_is_cut(rig: Rig, server_url: URL) -> None:
    _skip_without_socket(server_url)
    _assert_kept(database.local_starts(rig, starts=30))


def test_named_sessions_reach_their_ends_whatever_is_cut(rig: Rig, server_url: URL) -> None:
    _skip_without_socket(server_url)
    _assert_kept(database.named_sessions(rig, rounds=3))


def test_locked_sessions_cost_no_run_and_hold_up_no_other(rig: Rig) -> None:
    _assert_kept(database.locked_sessions(rig, locks=6))


def test_terminated_backends_lose_nothing(rig: Rig) -> None:
    _assert_kept(database.terminated_backends(rig, backends=5))


def test_an_exhausted_pool_fails_nothing(rig: Rig) -> None:
    _assert_kept(database.exhausted_pool(rig, sessions=20))


def test_poison_fails_after_three_and_the_worker_stays_healthy(rig: Rig) -> None:
    _assert_kept(faults.poison(rig, times=2, with_workers=False))


def test_cancels_that_race_are_told_the_truth(rig: Rig) -> None:
    _assert_kept(faults.cancel_races(rig, cancels=30))


def test_sessions_deleted_mid_task_leave_nothing(rig: Rig) -> None:
    _assert_kept(faults.deleted_sessions(rig, sessions=4))


def test_sigterm_spends_no_attempt(rig: Rig) -> None:
    _assert_kept(faults.terminations(rig, times=1))


def test_a_broker_that_dies_forgets_repeats_or_is_silent_costs_only_time(rig: Rig) -> None:
    _assert_kept(broker.broker(rig, "Redis", blows=1))


@pytest.mark.long
def test_an_idle_worker_costs_next_to_nothing(rig: Rig) -> None:
    _assert_kept(faults.idle(rig, seconds=5))


def test_clocks_hours_off_change_nothing(rig: Rig) -> None:
    _assert_kept(faults.wrong_clocks(rig, sessions=3))
