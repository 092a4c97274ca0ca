"""The short form of `make chaos`: every programme, with few trials of each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from chaos.arena import Arena, Verdict, own_server
from chaos.bugs import BUGS, Bug, WrongFunction
from chaos.programmes import broker, checker, database, kill, misfortune, pause
from sqlalchemy import URL

SEED = int(os.environ.get("CHAOS_SEED", "20260101"))


@pytest.fixture
def arena(server_url: URL) -> Iterator[Arena]:
    with Arena(server_url.render_as_string(hide_password=False), SEED) as arena:
        yield arena


def _assert_kept(verdict: Verdict) -> None:
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    assert not verdict.broken, f"seed {SEED}: {verdict}"


def _skip_without_socket(server_url: URL) -> None:
    if "host" not in server_url.query:
        pytest.skip("the proxy stands in front of a Unix socket, and this server was given by TCP")


def test_adversaries_break_no_promise(arena: Arena) -> None:
    _assert_kept(checker.adversaries(arena, rounds=60))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.partition(":")[0])
def test_the_checker_catches(arena: Arena, bug: Bug | WrongFunction) -> None:
    assert checker.caught(arena, bug)


def test_kill_9_loses_and_doubles_nothing(arena: Arena) -> None:
    _assert_kept(kill.kill(arena, kills=15, fleet=2))


def test_a_paused_worker_that_wakes_up_writes_nothing(arena: Arena) -> None:
    _assert_kept(pause.pause(arena, pauses=4, at_once=2))


def test_immediate_restarts_of_the_database_lose_nothing() -> None:
    with own_server() as (server, folder), Arena(server.url, SEED) as arena:
        _assert_kept(database.restarts(arena, server, folder, times=2))


def test_cut_and_silent_connections_lose_nothing(arena: Arena, server_url: URL) -> None:
    _skip_without_socket(server_url)
    _assert_kept(database.cut_connections(arena, cuts=8, silences=1))


def test_starts_beside_a_worker_reach_it_whatever_is_cut(arena: Arena, server_url: URL) -> None:
    _skip_without_socket(server_url)
    _assert_kept(database.local_starts(arena, starts=60))


def test_named_sessions_reach_their_ends_whatever_is_cut(arena: Arena, server_url: URL) -> None:
    _skip_without_socket(server_url)
    _assert_kept(database.named_sessions(arena, rounds=3))


def test_locked_sessions_cost_no_run_and_hold_up_no_other(arena: Arena) -> None:
    _assert_kept(database.locked_sessions(arena, locks=9))


def test_terminated_backends_lose_nothing(arena: Arena) -> None:
    _assert_kept(database.terminated_backends(arena, backends=10))


def test_an_exhausted_pool_fails_nothing(arena: Arena) -> None:
    _assert_kept(database.exhausted_pool(arena, sessions=20))


def test_poison_fails_after_three_and_the_worker_stays_healthy(arena: Arena) -> None:
    _assert_kept(misfortune.poison(arena, times=2, with_workers=False))


def test_cancels_that_race_are_told_the_truth(arena: Arena) -> None:
    _assert_kept(misfortune.cancel_races(arena, cancels=30))


def test_sessions_deleted_mid_task_leave_nothing(arena: Arena) -> None:
    _assert_kept(misfortune.deleted_sessions(arena, sessions=4))


def test_sigterm_spends_no_attempt(arena: Arena) -> None:
    _assert_kept(misfortune.terminations(arena, times=2))


def test_a_broker_that_dies_forgets_repeats_or_is_silent_costs_only_time(arena: Arena) -> None:
    _assert_kept(broker.broker(arena, "Redis", blows=1))


def test_an_idle_worker_costs_next_to_nothing(arena: Arena) -> None:
    _assert_kept(misfortune.idle(arena, seconds=5))


def test_clocks_hours_off_change_nothing(arena: Arena) -> None:
    _assert_kept(misfortune.wrong_clocks(arena, sessions=3))
