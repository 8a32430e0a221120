"""How the compatibility program judges a run, and its client of a mounted application."""

from __future__ import annotations

import threading
from pathlib import Path

import flask
import pytest

from tests.compat.mounted import MountedClient
from tests.compat.report import Difference
from tests.compat.report import judge
from tests.compat.report import read_known

BASELINE = [f"tests/test_a.py::test_{number}" for number in range(100)]
LAST = BASELINE[-1]


def listed(*transports: str) -> list[Difference]:
    return [Difference(LAST, transports, "differs on purpose")]


def test_all_of_the_baseline_is_good() -> None:
    verdict = judge(BASELINE, [*BASELINE, "tests/test_a.py::test_more"], [], "wsgi")
    assert verdict.good
    assert verdict.share == 1


def test_failure_that_is_not_listed_is_bad() -> None:
    verdict = judge(BASELINE, BASELINE[:-1], [], "wsgi")
    assert not verdict.good
    assert verdict.failed == (LAST,)


def test_failure_that_is_listed_is_good() -> None:
    verdict = judge(BASELINE, BASELINE[:-1], listed("wsgi"), "wsgi")
    assert verdict.good
    assert verdict.accepted == {LAST: "differs on purpose"}


def test_failure_listed_for_the_other_transport_is_bad() -> None:
    assert not judge(BASELINE, BASELINE[:-1], listed("asgi"), "wsgi").good


def test_listed_test_that_passes_is_stale() -> None:
    verdict = judge(BASELINE, BASELINE, listed("wsgi"), "wsgi")
    assert not verdict.good
    assert verdict.stale == (LAST,)


@pytest.mark.parametrize(("whole_suite", "stale"), [(True, (LAST,)), (False, ())])
def test_listed_test_outside_of_the_baseline_is_stale(
    whole_suite: bool, stale: tuple[str, ...]
) -> None:
    part = BASELINE[:50]
    assert judge(part, part, listed("wsgi"), "wsgi", whole_suite=whole_suite).stale == stale


def test_too_many_listed_failures_are_bad() -> None:
    known = [Difference(test, ("wsgi",), "differs") for test in BASELINE[90:]]
    verdict = judge(BASELINE, BASELINE[:90], known, "wsgi")
    assert verdict.failed == ()
    assert not verdict.good


def test_list_that_comes_with_the_program_can_be_read() -> None:
    assert all(set(known.transports) <= {"wsgi", "asgi", "mounted"} for known in read_known())


@pytest.mark.parametrize("reason", ["", "  "])
def test_entry_without_a_reason_is_refused(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "known.toml"
    path.write_text(f"[[difference]]\ntest = 'x'\ntransports = ['wsgi']\nreason = '{reason}'\n")
    with pytest.raises(ValueError, match="gives no reason for 'x'"):
        read_known(path)


@pytest.fixture
def mounted() -> flask.Flask:
    app = flask.Flask("mounted")
    app.testing = True
    app.test_client_class = MountedClient
    return app


def test_mounted_client_goes_through_the_bridges(mounted: flask.Flask) -> None:
    mounted.add_url_rule("/", "view", lambda: threading.current_thread().name)
    assert mounted.test_client().get("/").text == "asyncflask-worker"


def test_mounted_client_raises_what_the_application_raises(mounted: flask.Flask) -> None:
    mounted.add_url_rule("/", "view", lambda: {}["missing"])
    with pytest.raises(KeyError, match="missing"):
        mounted.test_client().get("/")


def test_mounted_client_keeps_contexts_and_cookies(mounted: flask.Flask) -> None:
    mounted.secret_key = "for the tests"

    @mounted.get("/")
    def view() -> str:
        flask.session["count"] = flask.session.get("count", 0) + 1
        return "ok"

    with mounted.test_client() as client:
        for count in (1, 2):
            client.get("/")
            assert flask.session["count"] == count
