"""One application on every server: the same answers, whichever protocol serves it."""

from __future__ import annotations

import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.kit import fleet
from tests.kit.cases import Figure
from tests.kit.server import running
from tests.kit.server import Server
from tests.servers import scenario

TARGET = "tests.servers.app:app"
#: Those that take chunked bodies; wsgiref does not, and its application sees an empty one.
DECHUNKING = [name for name in fleet.COMMANDS if name != "wsgiref"]


@pytest.fixture(scope="module", params=fleet.COMMANDS)
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    with fleet.start(request.param, TARGET) as server:
        yield server


@pytest.fixture
def client(server: Server) -> t.Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def only(*names: str) -> pytest.MarkDecorator:
    """Have a test run on these servers alone."""
    return pytest.mark.parametrize("server", names, indirect=True, scope="module")


def test_the_scenario_has_the_same_answers_everywhere(client: httpx.Client) -> None:
    expected = {name: step.answer for name, step in scenario.SCENARIO.items()}
    assert scenario.play(client) == expected


def test_a_conditional_request_gets_304(client: httpx.Client) -> None:
    tagged = {"If-None-Match": scenario.ETAG}
    assert scenario.ask(client, "GET", "/tagged", headers=tagged) == scenario.UNCHANGED


@pytest.mark.parametrize("path", ["/sync", "/async", "/stream", "/stream-async"])
def test_nothing_follows_the_head_of_a_response_to_head(server: Server, path: str) -> None:
    with server.connect() as connection:
        connection.request("HEAD", path, headers={"Connection": "close"})
        head, _, body = connection.raw().partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == b"200"
    streamed = path.startswith("/stream")
    # Waitress ends the body that there is none of.
    assert body == (b"0\r\n\r\n" if streamed and server.name == "waitress" else b"")
    if not streamed:
        length = len(server.get(path))
        assert f"content-length: {length}".encode() in head.lower().split(b"\r\n")


@only(*DECHUNKING)
@pytest.mark.parametrize("name", scenario.CHUNKED)
def test_a_megabyte_in_chunks_arrives(client: httpx.Client, name: str) -> None:
    method, path, _, answer = scenario.CHUNKED[name]
    assert scenario.ask(client, method, path, content=scenario.in_chunks()) == answer


def test_every_request_has_its_hooks_and_one_teardown(client: httpx.Client) -> None:
    scenario.play(client)
    # The teardown of a kept stream may come after the client has read its end.
    for _ in range(100):
        counts = client.get("/counts").json()
        if counts["teardown"] == counts["before"] - 1:
            break
    # This request's own are not in it.
    assert counts["teardown"] == counts["after"] == counts["before"] - 1


def test_what_was_opened_before_serving_is_there_on_the_loop_of_the_views(
    client: httpx.Client,
) -> None:
    assert client.get("/serving").json() == {"pool on this loop": True, "kept": "open"}


def test_async_views_run_on_one_loop(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(server.get, ["/loop"] * 20))
    assert len(answers) == 1
    [answer] = answers
    assert f'"protocol":"{"ASGI" if server.name in fleet.ASGI else "WSGI"}"' in answer


@only(*fleet.CONCURRENT)
@pytest.mark.case("A39")
def test_async_views_wait_at_the_same_time(server: Server, figure: Figure) -> None:
    with ThreadPoolExecutor(20) as pool:
        begin = time.perf_counter()
        answers = list(pool.map(server.get, ["/nap/0.2"] * 20))
        seconds = time.perf_counter() - begin
    assert answers == ["slept"] * 20
    # One after the other they take 4 seconds.
    assert seconds < 2
    if server.name in fleet.WSGI:
        figure(f"20 async views of 0.2 s on {server.name} in {seconds:.1f} s")


def test_hypercorn_recognises_an_asgi_application_from_python_3_12_on() -> None:
    command = ["-m", "hypercorn", "--bind=127.0.0.1:0", TARGET]
    with running(command, ".") as server:
        protocol = "ASGI" if sys.version_info >= (3, 12) else "WSGI"
        assert f'"protocol":"{protocol}"' in server.get("/loop")
