"""The scenario's application on Flask itself: mounted it answers as it does under gunicorn."""

from __future__ import annotations

import contextlib
import typing as t

import httpx
import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from tests.kit import fleet
from tests.kit.server import Server
from tests.servers import scenario
from tests.servers.app import app as ours
from tests.servers.flasks import app as flasks

#: Steps of the scenario for which Flask has nothing.
NOT_FLASKS = {
    "body-streamed": "stream_body=True, and async iteration over the stream",
    "stream-async": "an async generator as a body",
    "stream-slow": "stream_with_context() around an async generator",
}
#: Steps that Flask answers in another way than asyncflask, on any server.
OTHERWISE = {"slash": "the redirect names the host"}
FLASKS = {name: step for name, step in scenario.SCENARIO.items() if name not in NOT_FLASKS}
#: Headers that are the server's own.
LEFT_OUT = ("date", "server", "connection")
#: What serves the application below which path, each beside gunicorn with the same.
MOUNTS = [("adapted", ""), ("outer", ""), ("outer", "/legacy")]

Whole: t.TypeAlias = tuple[int, list[tuple[str, str]], bytes]


@pytest.fixture(scope="module")
def start() -> t.Iterator[t.Callable[..., Server]]:
    """Start each server once, when it is first asked for."""
    started: dict[tuple[str, ...], Server] = {}
    with contextlib.ExitStack() as stack:

        def start(name: str, target: str, prefix: str = "") -> Server:
            key = (name, target, prefix)
            if key not in started:
                served = f"tests.servers.flasks:{target}"
                env = {"SCRIPT_NAME": prefix}
                started[key] = stack.enter_context(fleet.start(name, served, env=env))
            return started[key]

        yield start


@pytest.fixture(params=MOUNTS, ids="".join)
def servers(
    start: t.Callable[..., Server], request: pytest.FixtureRequest
) -> tuple[Server, Server, str]:
    """Give gunicorn, uvicorn with what is mounted, and the path of both."""
    target, prefix = request.param
    return start("gunicorn-gthread", "app", prefix), start("uvicorn", target), prefix


@pytest.fixture
def clients(servers: tuple[Server, Server, str]) -> t.Iterator[list[httpx.Client]]:
    *both, prefix = servers
    with contextlib.ExitStack() as stack:
        # Some redirects name the host, whose port is another one.
        yield [
            stack.enter_context(
                httpx.Client(
                    base_url=t.cast(Server, server).url + t.cast(str, prefix),
                    headers={"Host": "localhost"},
                    timeout=20,
                )
            )
            for server in both
        ]


def whole(response: httpx.Response) -> Whole:
    """Give all of an answer that has to be the same."""
    pairs = response.headers.multi_items()
    headers = sorted((name, stable(name, value)) for name, value in pairs if name not in LEFT_OUT)
    return response.status_code, headers, response.read()


def stable(name: str, value: str) -> str:
    """Leave the time out of a session, with its signature, and the order out of a set."""
    if name == "set-cookie":
        cookie, _, options = value.partition(";")
        return f"{cookie.partition('.')[0]};{options}"
    return ", ".join(sorted(value.split(", "))) if name == "allow" else value


def answer_of(app: t.Any, step: scenario.Step) -> str:
    """Name what answers a step; ``""`` for nothing."""
    adapter = app.url_map.bind("localhost")
    try:
        return t.cast(str, adapter.match(step.path.partition("?")[0], step.method)[0])
    except RequestRedirect as redirect:
        return redirect.new_url
    except HTTPException:
        return ""


def test_all_is_asked_that_flask_can_do() -> None:
    lacking = {
        name
        for name, step in scenario.SCENARIO.items()
        if answer_of(ours, step) != answer_of(flasks, step)
    }
    assert lacking == set(NOT_FLASKS)


def test_flask_under_gunicorn_goes_through_the_scenario(start: t.Callable[..., Server]) -> None:
    with httpx.Client(base_url=start("gunicorn-gthread", "app").url, timeout=20) as client:
        answers = {
            name: scenario.ask(client, method, path, **options)
            for name, (method, path, options, _) in FLASKS.items()
        }
    assert {name for name, step in FLASKS.items() if answers[name] != step.answer} == set(OTHERWISE)


def test_mounted_it_has_the_same_answers(clients: list[httpx.Client]) -> None:
    gunicorn, mounted = clients
    for name, (method, path, options, _) in FLASKS.items():
        expected = whole(gunicorn.request(method, path, **options))
        assert whole(mounted.request(method, path, **options)) == expected, name


@pytest.mark.parametrize("name", [name for name in scenario.CHUNKED if name in FLASKS])
def test_a_megabyte_in_chunks_is_answered_alike(clients: list[httpx.Client], name: str) -> None:
    method, path, _, answer = scenario.CHUNKED[name]
    expected, found = (
        whole(client.request(method, path, content=scenario.in_chunks())) for client in clients
    )
    assert expected == found and expected[0] == answer.status


def test_a_conditional_request_is_answered_alike(clients: list[httpx.Client]) -> None:
    tagged = {"If-None-Match": scenario.ETAG}
    expected, found = (whole(client.get("/tagged", headers=tagged)) for client in clients)
    assert expected == found and expected[0] == 304


@pytest.mark.parametrize("path", ["/sync", "/async", "/stream", "/missing", "/fails", "/nothing"])
def test_nothing_follows_the_head_of_a_response_to_head(
    servers: tuple[Server, Server, str], path: str
) -> None:
    *both, prefix = servers
    for server in t.cast("list[Server]", both):
        with server.connect() as connection:
            connection.request("HEAD", f"{prefix}{path}", headers={"Connection": "close"})
            head, _, body = connection.raw().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ") and body == b""


def test_hooks_and_teardowns_run_as_often(clients: list[httpx.Client]) -> None:
    gained = []
    for client in clients:
        before = client.get("/counts").json()
        for method, path, options, _ in FLASKS.values():
            client.request(method, path, **options)
        after = client.get("/counts").json()
        gained.append({name: after[name] - before[name] for name in after})
    assert gained[0] == gained[1]
