from __future__ import annotations

import asyncio
import sys
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from wsgiref.validate import validator

import flask
import pytest

from asyncflask.adapters import WsgiToAsgi
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import STALL
from tests.kit.leaks import no_tasks_left
from tests.mounted import endless
from tests.mounted import PLAIN
from tests.mounted import respond
from tests.mounted import seen_environ

pytestmark = pytest.mark.anyio


def read_with(read: t.Callable[[t.Any], t.Any], seen: list[t.Any]) -> t.Any:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        seen.append(read(environ["wsgi.input"]))
        start_response("200 OK", PLAIN)
        return [b"read"]

    return app


READS: dict[str, tuple[t.Callable[[t.Any], t.Any], t.Any]] = {
    "read()": (lambda i: i.read(), b"one\ntwo\nthree"),
    "read(n)": (lambda i: [i.read(5), i.read(0), i.read(50), i.read(5)], [b"one\nt", b"",
                                                                      b"wo\nthree", b""]),
    "read(-1)": (lambda i: i.read(-1), b"one\ntwo\nthree"),
    "readline()": (lambda i: [i.readline() for _ in range(4)], [b"one\n", b"two\n", b"three", b""]),
    "readline(n)": (lambda i: [i.readline(2), i.readline(20), i.readline()],
                    [b"on", b"e\n", b"two\n"]),
    "readlines()": (lambda i: i.readlines(), [b"one\n", b"two\n", b"three"]),
    "readlines(n)": (lambda i: i.readlines(2), [b"one\n"]),
    "for": (lambda i: list(i), [b"one\n", b"two\n", b"three"]),
    "mixed": (lambda i: [i.readline(), i.read(3), i.read()], [b"one\n", b"two", b"\nthree"]),
}
CUTS = {
    "whole": [b"one\ntwo\nthree"],
    "bytes": [bytes([char]) for char in b"one\ntwo\nthree"],
    "cut": [b"on", b"e\ntwo\nth", b"", b"ree"],
}


@pytest.mark.parametrize("length", [-1, None], ids=["declared", "chunked"])
@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "streamed"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("how", READS)
async def test_the_input_is_a_file(how: str, cut: str, ahead: bool, length: int | None) -> None:
    read, expected = READS[how]
    seen: list[t.Any] = []
    headers = {} if ahead else {"Expect": "100-continue"}
    app = WsgiToAsgi(read_with(read, seen))
    async with no_tasks_left():
        answer = await fetch(app, "POST", body=CUTS[cut], length=length, headers=headers)
    assert (answer.body, seen) == (b"read", [expected])


async def test_an_upload_is_taken_in_as_it_is_read() -> None:
    taken = 0
    sizes: list[int] = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        while chunk := environ["wsgi.input"].read(100_000):
            sizes.append(taken - sum(sizes) - len(chunk))
            assert sizes.pop() <= 300_000
            sizes.append(len(chunk))
        start_response("200 OK", PLAIN)
        return [b"%d" % sum(sizes)]

    async def outer(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        async def count() -> t.Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message

        await WsgiToAsgi(app)(scope, count, send)

    answer = await fetch(outer, "POST", body=[bytes(60_000)] * 100)
    assert answer.body == b"6000000"


async def test_what_nobody_reads_is_not_taken_in() -> None:
    taken = 0

    async def outer(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        async def count() -> t.Any:
            nonlocal taken
            taken += 1
            return await receive()

        await WsgiToAsgi(respond([b"unread"]))(scope, count, send)

    assert (await fetch(outer, "POST", body=[bytes(60_000)] * 100)).body == b"unread"
    assert taken <= 2


async def test_a_slow_sender_of_a_small_body_holds_no_thread() -> None:
    called = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        called.append(environ["wsgi.input"].read())
        start_response("200 OK", PLAIN)
        return []

    async with Exchange(WsgiToAsgi(app), "POST", body=[b"a", STALL, b"b"]) as exchange:
        for _ in range(20):
            await asyncio.sleep(0)
        assert called == []
        exchange.go_on()
    assert called == [b"ab"]


@pytest.mark.parametrize("error", ["leaves", "is silent", "sends too much"])
@pytest.mark.parametrize("read", ["read", "readline", "readlines", "__iter__"])
async def test_a_broken_body_raises_and_unhandled_is_the_clients_fault(
    error: str, read: str, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[BaseException] = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        try:
            list(iter(lambda: list(getattr(environ["wsgi.input"], read)()), []))
        except Exception as exc:
            errors.append(exc)
            raise
        raise AssertionError("The body was taken for complete.")

    body = {"leaves": [b"ab\n", LEAVE], "is silent": [b"ab\n", STALL]}.get(error, [b"x" * 2000])
    answer = await fetch(WsgiToAsgi(app, body_timeout=0.05), "POST", body=body, length=1000)
    assert answer.status == (408 if error == "is silent" else 400)
    assert isinstance(errors[0], OSError) == (error != "is silent")
    assert caplog.records == []


async def test_a_cancelled_request_breaks_the_body_off() -> None:
    errors: list[BaseException] = []
    reading = threading.Event()

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        assert environ["wsgi.input"].read(1) == b"a"
        reading.set()
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            errors.append(exc)
            raise

    headers = {"Expect": "100-continue"}
    body = [b"a", STALL]
    async with no_tasks_left():
        exchange = Exchange(WsgiToAsgi(app), "POST", body=body, length=9, headers=headers)
        async with exchange:
            await asyncio.to_thread(reading.wait, 10)
            exchange.cancel()
    assert isinstance(exchange.answer.error, asyncio.CancelledError) and len(errors) == 1


async def read_on_a_loop(stream: t.Any) -> bytes:
    return t.cast(bytes, stream.read())


def read_as_flask_does(stream: t.Any) -> bytes:
    """Read where Flask runs an async view: on a loop of its own, on a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, read_on_a_loop(stream)).result()


@pytest.mark.parametrize("length", [-1, None], ids=["declared", "chunked"])
async def test_a_body_can_be_read_on_a_loop_of_the_applications_own(length: int | None) -> None:
    seen: list[t.Any] = []
    app = WsgiToAsgi(read_with(read_as_flask_does, seen))
    body = [bytes(65536)] * 4
    assert (await fetch(app, "POST", body=body, length=length)).text == "read"
    assert seen == [bytes(4 * 65536)]


@pytest.mark.parametrize("end", ["leaves", "is cancelled"])
async def test_a_body_read_on_a_loop_of_the_applications_own_breaks_off(end: str) -> None:
    seen: list[t.Any] = []

    def read(stream: t.Any) -> None:
        assert len(stream.read(100_000)) == 100_000
        loop.call_soon_threadsafe(end_it)
        try:
            read_as_flask_does(stream)
        except OSError as exc:
            seen.append(exc)
            raise

    def end_it() -> None:
        exchange.cancel() if end == "is cancelled" else exchange.disconnect()

    loop = asyncio.get_running_loop()
    app = WsgiToAsgi(read_with(read, seen))
    async with no_tasks_left(), Exchange(
        app, "POST", body=[bytes(100_000), STALL], length=200_000
    ) as exchange:
        await exchange.end()
    assert [type(exc).__name__ for exc in seen] == ["InputBroken"]


async def test_a_body_is_read_while_the_response_is_sent() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
        start_response("200 OK", PLAIN)
        return iter(environ["wsgi.input"].readline, b"")

    body = [b"one\n", STALL, b"two\n", STALL, b"three"]
    headers = {"Expect": "100-continue"}
    app_in_asgi = WsgiToAsgi(app)
    async with Exchange(app_in_asgi, "POST", body=body, length=None, headers=headers) as exchange:
        for line in (b"one\n", b"two\n", b"three"):
            assert await exchange.chunk() == line
            exchange.go_on()
    assert exchange.answer.complete


async def test_an_application_of_flasks_answers_a_broken_body_itself() -> None:
    app = flask.Flask("flask")
    app.post("/")(lambda: flask.request.get_data())
    answer = await fetch(WsgiToAsgi(app), "POST", body=[b"ab", LEAVE], length=1000)
    assert answer.status == 400 and b"<h1>Bad Request</h1>" in answer.body
    silent = WsgiToAsgi(app, body_timeout=0.05)
    assert (await fetch(silent, "POST", body=[b"ab", STALL], length=1000)).status == 408


async def test_the_input_cannot_be_read_when_the_request_is_over() -> None:
    environs: list[t.Any] = []
    body = [b"a", b"b"]
    await fetch(WsgiToAsgi(seen_environ(environs)), "POST", body=body, length=None,
                headers={"Expect": "100-continue"})
    with pytest.raises(RuntimeError, match="request is over"):
        await asyncio.to_thread(environs[0]["wsgi.input"].read)


BAD_LENGTHS = ["-1", "+5", "1_0", "5,5", "0x5", "", "5" * 5000, "\u00b2"]


@pytest.mark.parametrize("length", BAD_LENGTHS, ids=lambda length: length[:6])
async def test_a_length_that_is_none_is_refused_unread(length: str) -> None:
    environs: list[t.Any] = []
    headers = {"Content-Length": length}
    answer = await fetch(
        WsgiToAsgi(seen_environ(environs)), "POST", body=[STALL], length=0, headers=[],
        scope={"headers": [(b"content-length", length.encode("latin-1"))]},
    )
    assert headers and (answer.status, environs) == (400, [])


async def test_the_environ_says_what_the_scope_does() -> None:
    environs: list[t.Any] = []
    await fetch(
        WsgiToAsgi(seen_environ(environs)),
        "POST",
        "/caf\u00e9/x?a=%20b",
        body=b"body",
        headers=[("Cookie", "a=1"), ("Cookie", "b=2"), ("X_Spoofed", "1"), ("X-A", "b"),
                 ("Content-Type", "text/plain")],
        scope={"path": "/mounted/caf\u00e9/x", "root_path": "/mounted", "scheme": "https",
               "raw_path": b"/mounted/caf%C3%A9/x"},
    )
    (environ,) = environs
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/mounted",
        "PATH_INFO": "/caf\xc3\xa9/x",
        "QUERY_STRING": "a=%20b",
        "CONTENT_LENGTH": "4",
        "CONTENT_TYPE": "text/plain",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_A": "b",
        "wsgi.url_scheme": "https",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.errors": sys.stderr,
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert "HTTP_X_SPOOFED" not in environ


@pytest.mark.parametrize("path", ["/app", "/app/", "/apple", "/"])
async def test_a_prefix_ends_at_a_slash(path: str) -> None:
    environs: list[t.Any] = []
    scope = {"path": path, "root_path": "/app", "raw_path": path.encode()}
    await fetch(WsgiToAsgi(seen_environ(environs)), scope=scope)
    expected = {"/app": "", "/app/": "/"}.get(path, path)
    assert (environs[0]["SCRIPT_NAME"], environs[0]["PATH_INFO"]) == ("/app", expected)


async def test_a_chunked_request_has_no_length_and_an_end() -> None:
    environs: list[t.Any] = []
    await fetch(WsgiToAsgi(seen_environ(environs)), "POST", body=b"a", length=None)
    assert "CONTENT_LENGTH" not in environs[0] and environs[0]["wsgi.input_terminated"] is True


async def test_a_length_beside_chunks_is_not_believed() -> None:
    environs: list[t.Any] = []
    headers = {"Content-Length": "1"}
    app = WsgiToAsgi(seen_environ(environs))
    answer = await fetch(app, "POST", body=b"abc", length=None, headers=headers)
    assert answer.body == b"seen" and "CONTENT_LENGTH" not in environs[0]


async def test_a_method_the_application_overrides_is_still_the_clients() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        environ.clear()
        environ["REQUEST_METHOD"] = "GET"
        start_response("200 OK", PLAIN)
        return [b"body"]

    assert (await fetch(WsgiToAsgi(app), "HEAD")).body == b""


# -- the standard's own checks -------------------------------------------------------------


def validated(environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
    """Reads its input in every way there is, if there is one, and streams an answer."""
    stream = environ["wsgi.input"]
    parts = [stream.read(3), stream.readline(), *stream.readlines(2), *stream]
    environ["wsgi.errors"].flush()
    status = environ["QUERY_STRING"].replace("+", " ") or "200 OK"
    headers = [] if status[:3] in ("204", "304") else PLAIN
    start_response(status, headers)
    yield from [b"<", *parts, b">"] if headers else []


@pytest.mark.parametrize("status", ["", "201+Created", "204+No+Content", "304+Not+Modified"])
@pytest.mark.parametrize("length", [-1, None], ids=["declared", "chunked"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE"])
async def test_the_standards_validator_has_no_complaint(
    method: str, length: int | None, status: str, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    body = [b"one\ntw", b"o\n", b"three"] if method in ("POST", "PUT") else b""
    answer = await fetch(
        WsgiToAsgi(validator(validated)), method, f"/a%20b?{status}", body=body, length=length
    )
    assert answer.status == int(status[:3] or 200)
    assert caplog.records == [] and capsys.readouterr().err == ""
    if answer.status < 204 and method != "HEAD":
        assert answer.body == (b"<one\ntwo\nthree>" if body else b"<>")


async def test_the_validator_has_no_complaint_when_the_client_leaves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = WsgiToAsgi(validator(respond(endless)))
    async with Exchange(app) as exchange:
        assert await exchange.chunk()
        exchange.disconnect()
    assert exchange.answer.error is None and capsys.readouterr().err == ""
