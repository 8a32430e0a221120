from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import sys
import threading
import typing as t
from wsgiref.validate import validator

import flask
import pytest
from werkzeug.wsgi import wrap_file

from asyncflask import Flask
from asyncflask import request
from asyncflask.adapters import AsgiToWsgi
from asyncflask.adapters import WsgiToAsgi
from asyncflask.adapters.wsgi_call import FILE_CHUNK
from asyncflask.adapters.wsgi_call import IN_ONE_PIECE
from asyncflask.lanes import run_awaitable
from asyncflask.lanes import Workers
from asyncflask.lanes.production import AHEAD
from tests.bodies import nothing_left_behind
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import Lifespan
from tests.kit.drive import STALL
from tests.kit.leaks import no_tasks_left

pytestmark = pytest.mark.anyio

PLAIN = [("Content-Type", "text/plain")]
color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


def respond(
    result: t.Any, headers: t.Sequence[tuple[str, str]] = (), status: str = "200 OK"
) -> t.Any:
    """Make an application that answers with *result*, or what that gives when it is called."""

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response(status, [*PLAIN, *headers])
        return result() if callable(result) else result

    return app


def seen_environ(answers: list[t.Any]) -> t.Any:
    """Make an application that keeps its environs."""

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        answers.append(dict(environ))
        start_response("200 OK", PLAIN)
        return [b"seen"]

    return app


class Closing:
    """An iterable that counts how often it is closed, and tells when."""

    def __init__(self, chunks: t.Iterable[t.Any]) -> None:
        self._chunks = iter(chunks)
        self.taken = 0
        self.closed = 0
        self.threads: list[int] = []

    def __iter__(self) -> t.Self:
        return self

    def __next__(self) -> t.Any:
        self.threads.append(threading.get_ident())
        chunk = next(self._chunks)
        self.taken += 1
        return chunk

    def close(self) -> None:
        self.threads.append(threading.get_ident())
        self.closed += 1


def endless(chunk: bytes = b"x" * 1000) -> t.Iterator[bytes]:
    while True:
        yield chunk


# -- responses ---------------------------------------------------------------------------------


async def test_a_list_is_one_start_and_one_body() -> None:
    answer = await fetch(WsgiToAsgi(respond([b"hello"], status="201 Created")))
    assert answer.status == 201
    assert answer.headers == [("content-type", "text/plain"), ("content-length", "5")]
    assert [message["type"] for message in answer.messages[1:]] == ["http.response.body"]
    assert answer.body == b"hello" and answer.complete


@pytest.mark.parametrize("result", [[], (), [b""], [b"", b""]], ids=repr)
async def test_an_empty_list_is_an_empty_body(result: t.Any) -> None:
    answer = await fetch(WsgiToAsgi(respond(result)))
    assert answer.header("content-length") == "0" and len(answer.messages) == 2


async def test_a_short_list_is_joined_and_a_long_one_is_not() -> None:
    assert (await fetch(WsgiToAsgi(respond([b"a", b"b"])))).chunks == [b"ab"]
    long = [bytes(IN_ONE_PIECE), b"b"]
    answer = await fetch(WsgiToAsgi(respond(long)))
    assert answer.chunks == long and answer.header("content-length") is None


async def test_chunks_of_a_generator_arrive_one_by_one_without_empty_ones() -> None:
    answer = await fetch(WsgiToAsgi(respond(lambda: iter([b"", b"a", b"", b"b"]))))
    assert answer.chunks == [b"a", b"b"]
    empty = [m for m in answer.messages if m.get("more_body") and not m["body"]]
    assert not empty and answer.complete


async def test_a_body_that_has_reached_its_length_is_complete_at_once() -> None:
    going_on = threading.Event()

    def chunks() -> t.Iterator[bytes]:
        yield b"hello"
        going_on.wait(10)

    app = WsgiToAsgi(respond(chunks, [("Content-Length", "5")]))
    async with Exchange(app) as exchange:
        assert await exchange.chunk() == b"hello"
        assert exchange.answer.complete
        going_on.set()


async def test_a_generator_is_lazy() -> None:
    steps = threading.Semaphore(0)

    def chunks() -> t.Iterator[bytes]:
        for number in range(3):
            assert steps.acquire(timeout=10)
            yield b"%d" % number

    async with Exchange(WsgiToAsgi(respond(chunks))) as exchange:
        for number in range(3):
            assert len(exchange.answer.chunks) == number
            steps.release()
            assert await exchange.chunk() == b"%d" % number


async def test_a_generator_is_not_far_ahead_of_a_client_that_does_not_read() -> None:
    result = Closing(endless(bytes(10_000)))
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        while result.taken * 10_000 < AHEAD:
            await asyncio.sleep(0)
        taken = result.taken
        assert taken * 10_000 <= AHEAD + 2 * 10_000
        exchange.read_on()
        for _ in range(taken * 3):
            assert await exchange.chunk()
        exchange.disconnect()
    assert result.closed == 1


async def test_start_response_may_be_called_at_the_first_step() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
        start_response("202 Accepted", PLAIN)
        yield b"late"

    answer = await fetch(WsgiToAsgi(app))
    assert (answer.status, answer.body) == (202, b"late")


async def test_write_sends_before_what_is_returned() -> None:
    def app(environ: t.Any, start_response: t.Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"")
        write(b"one")
        write(b"two")
        return [b"three"]

    answer = await fetch(WsgiToAsgi(app))
    assert answer.chunks == [b"one", b"two", b"three"] and answer.complete


async def test_write_waits_for_a_client_that_does_not_read_and_hears_that_it_left() -> None:
    written = 0
    errors: list[BaseException] = []

    def app(environ: t.Any, start_response: t.Any) -> list[bytes]:
        nonlocal written
        write = start_response("200 OK", PLAIN)
        try:
            for _ in range(1000):
                write(bytes(AHEAD))
                written += 1
        except OSError as exc:
            errors.append(exc)
            raise
        return []

    async with Exchange(WsgiToAsgi(app)) as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        assert written < 3
        exchange.disconnect()
    assert len(errors) == 1 and written < 5


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 OK")]
)
async def test_what_has_no_body_sends_none(method: str, status: str, lazy: bool) -> None:
    result = Closing(endless())

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        write = start_response(status, [("Content-Length", "5"), ("X-A", "b")])
        write(b"ignored")
        return result if lazy else [b"hello"]

    answer = await fetch(WsgiToAsgi(app), method)
    assert answer.status == int(status[:3]) and answer.body == b"" and answer.complete
    assert answer.header("content-length") == (None if "204" in status else "5")
    assert result.closed == lazy


async def test_head_of_an_application_that_starts_late_has_its_headers() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
        yield b""
        start_response("200 OK", [*PLAIN, ("X-A", "b")])
        while True:
            yield b"x"

    answer = await fetch(WsgiToAsgi(app), "HEAD")
    assert answer.header("x-a") == "b" and answer.body == b""


async def test_hop_by_hop_headers_are_left_out() -> None:
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("X-A", " b ")]
    answer = await fetch(WsgiToAsgi(respond([b""], headers)))
    assert [name for name, _ in answer.headers] == ["content-type", "x-a", "content-length"]
    assert answer.header("x-a") == "b"


async def test_repeated_headers_stay() -> None:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    answer = await fetch(WsgiToAsgi(respond([b""], headers)))
    assert [value for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]


async def test_files_are_read_in_large_pieces(tmp_path: t.Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * FILE_CHUNK + 1))
    files: list[t.IO[bytes]] = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", PLAIN)
        files.append(path.open("rb"))
        return wrap_file(environ, files[0])

    async with nothing_left_behind():
        answer = await fetch(WsgiToAsgi(app))
    assert [len(chunk) for chunk in answer.chunks] == [FILE_CHUNK] * 3 + [1]
    assert files[0].closed


async def test_a_file_that_is_slow_is_read_as_the_application_says() -> None:
    class Slow(io.BytesIO):
        pass

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](Slow(bytes(30)), 10)

    assert (await fetch(WsgiToAsgi(app))).chunks == [bytes(10)] * 3


# -- threads and contexts ----------------------------------------------------------------------


async def test_all_of_a_request_runs_on_one_thread_in_one_copy_of_the_context() -> None:
    threads, colors = [], []

    class Result(Closing):
        def __next__(self) -> t.Any:
            colors.append(color.get())
            color.set("set by a step")
            return super().__next__()

        def close(self) -> None:
            colors.append(color.get())
            super().close()

    result = Result([b"a", b"b"])

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        threads.append(threading.get_ident())
        colors.append(color.get())
        color.set("set by the call")
        start_response("200 OK", PLAIN)
        return result

    async def outer(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        color.set("set outside")
        await WsgiToAsgi(app)(scope, receive, send)
        colors.append(color.get())

    await fetch(outer)
    assert len({*threads, *result.threads}) == 1 and threads[0] != threading.get_ident()
    step = "set by a step"
    assert colors == ["set outside", "set by the call", step, step, step, "set outside"]


async def test_the_servers_functions_run_outside_of_the_requests_context() -> None:
    seen = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        color.set("of the request")
        environ["wsgi.input"].read()
        start_response("200 OK", PLAIN)(b"written")
        return iter([b"a", b"b"])

    async def outer(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        async def watched_receive() -> t.Any:
            seen.append(color.get())
            return await receive()

        async def watched_send(message: t.Any) -> None:
            seen.append(color.get())
            await send(message)

        await WsgiToAsgi(app)(scope, watched_receive, watched_send)

    await fetch(outer, "POST", body=[b"a", b"b"], headers={"Expect": "100-continue"})
    assert set(seen) == {"none"} and len(seen) > 6


async def test_slow_clients_hold_no_places_in_the_pool() -> None:
    app = WsgiToAsgi(respond(lambda: endless(bytes(AHEAD))), workers=Workers(1))
    other = WsgiToAsgi(respond([b"served"]), workers=app.workers)
    async with Exchange(app) as first, Exchange(app) as second:
        for exchange in (first, second):
            exchange.stop_reading()
            await exchange.blocked()
        assert (await fetch(other)).body == b"served"
        for exchange in (first, second):
            exchange.disconnect()


async def test_adapters_of_the_same_size_share_a_pool() -> None:
    one, two = WsgiToAsgi(respond([]), workers=3), WsgiToAsgi(respond([]), workers=3)
    assert one._pool() is two._pool()
    with pytest.raises(ValueError, match="at least one thread, not 0"):
        WsgiToAsgi(respond([]), workers=0)


async def test_a_full_queue_is_a_503_and_the_application_is_not_called() -> None:
    going_on = threading.Event()
    called = []

    def block(environ: t.Any, start_response: t.Any) -> t.Any:
        called.append(environ["PATH_INFO"])
        going_on.wait(10)
        start_response("200 OK", PLAIN)
        return [b"served"]

    app = WsgiToAsgi(block, workers=1, queue_limit=0)
    async with Exchange(app, target="/first") as exchange:
        while not called:
            await asyncio.sleep(0)
        refused = await fetch(app, "POST", "/second", body=[b"a", STALL], length=10**6,
                              headers={"Expect": "100-continue"})
        going_on.set()
        assert (await exchange.end()).body == b"served"
    assert (refused.status, refused.header("retry-after")) == (503, "1")
    assert called == ["/first"]


async def test_who_waits_too_long_for_a_thread_gets_a_503() -> None:
    going_on = threading.Event()

    def block() -> list[bytes]:
        going_on.wait(10)
        return [b"served"]

    app = WsgiToAsgi(respond(block), workers=Workers(1, queue_timeout=0.01))
    async with Exchange(app) as exchange:
        assert (await fetch(app)).status == 503
        going_on.set()
        assert (await exchange.end()).status == 200


async def test_async_functions_run_on_the_servers_loop() -> None:
    loops = []

    async def find_loop() -> None:
        loops.append(asyncio.get_running_loop())

    def run() -> list[bytes]:
        run_awaitable(find_loop())
        return [b"done"]

    assert (await fetch(WsgiToAsgi(respond(run)))).body == b"done"
    assert loops == [asyncio.get_running_loop()]


def test_another_kind_of_loop_is_refused() -> None:
    async def never(*args: t.Any) -> t.Any:
        raise AssertionError(args)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    serving = WsgiToAsgi(respond([b"never"]))(scope, never, never)
    # Where no loop of asyncio's runs, as on trio's.
    with pytest.raises(RuntimeError, match="needs an event loop of asyncio's"):
        serving.send(None)


# -- the end: close(), leaving, errors ---------------------------------------------------------


async def test_close_is_called_once_at_the_end() -> None:
    result = Closing([b"a", b"b"])
    assert (await fetch(WsgiToAsgi(respond(result)))).body == b"ab"
    assert result.closed == 1


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("send_fails", [True, False])
async def test_a_client_that_leaves_ends_an_endless_body(reading: bool, send_fails: bool) -> None:
    result = Closing(endless())
    async with no_tasks_left():
        async with Exchange(WsgiToAsgi(respond(result))) as exchange:
            assert await exchange.chunk()
            if not reading:
                exchange.stop_reading()
                await exchange.blocked()
            exchange.disconnect(send_fails)
            async with asyncio.timeout(0.5):
                await exchange.end()
    assert result.closed == 1 and exchange.answer.error is None


async def test_a_client_that_leaves_between_chunks_is_noticed_after_the_next() -> None:
    waiting, going_on = threading.Event(), threading.Event()

    def chunks() -> t.Iterator[bytes]:
        yield b"first"
        waiting.set()
        going_on.wait(10)
        yield b"second"

    result = Closing(chunks())
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        assert await exchange.chunk() == b"first"
        await asyncio.to_thread(waiting.wait, 10)
        exchange.disconnect()
        for _ in range(20):
            await asyncio.sleep(0)
        assert result.closed == 0
        going_on.set()
    assert result.closed == 1 and exchange.answer.chunks == [b"first"]


async def test_a_client_that_leaves_an_endless_body_of_nothing_ends_it() -> None:
    result = Closing(endless(b""))
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        while not result.taken:
            await asyncio.sleep(0)
        exchange.disconnect()
    assert result.closed == 1 and exchange.answer.messages == []


@pytest.mark.parametrize("by", ["task", "scope"])
@pytest.mark.parametrize("at", ["call", "chunk", "send"])
async def test_a_cancelled_request_is_closed_before_it_ends(by: str, at: str) -> None:
    waiting, going_on = threading.Event(), threading.Event()

    def chunks() -> t.Iterator[bytes]:
        while True:
            if at == "call":
                waiting.set()
                going_on.wait(10)
            yield b"x" * 1000

    result = Closing(chunks())
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        if at == "call":
            await asyncio.to_thread(waiting.wait, 10)
        else:
            assert await exchange.chunk()
        if at == "send":
            exchange.stop_reading()
            await exchange.blocked()
        exchange.cancel(by)
        going_on.set()
    assert result.closed == 1
    assert isinstance(exchange.answer.error, asyncio.CancelledError if by == "task" else type(None))


async def test_a_request_that_is_cancelled_in_the_queue_is_never_run() -> None:
    going_on, called = threading.Event(), []

    def block() -> list[bytes]:
        called.append(1)
        going_on.wait(10)
        return [b"served"]

    pool = Workers(1)
    app = WsgiToAsgi(respond(block), workers=pool)
    async with Exchange(app) as first:
        while not called:
            await asyncio.sleep(0)
        async with Exchange(app) as second:
            while not pool._backlog:
                await asyncio.sleep(0)
            second.cancel()
        going_on.set()
        assert (await first.end()).body == b"served"
    assert called == [1]


async def test_a_cancellation_reaches_what_the_application_waits_for() -> None:
    began = asyncio.Event()
    errors: list[BaseException] = []

    async def wait() -> None:
        began.set()
        await asyncio.sleep(10)

    def run() -> list[bytes]:
        try:
            run_awaitable(wait())
        except BaseException as exc:
            errors.append(exc)
            raise
        return []

    async with Exchange(WsgiToAsgi(respond(run))) as exchange:
        await began.wait()
        exchange.cancel()
    assert isinstance(errors[0], asyncio.CancelledError) and len(errors) == 1


def app_that_raises(error: BaseException, after: int) -> tuple[t.Any, Closing]:
    """Make an application that raises after so many chunks."""

    def chunks() -> t.Iterator[bytes]:
        yield from [b"chunk"] * after
        raise error

    result = Closing(chunks())
    return respond(result), result


ERRORS = [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_an_error_in_the_call_is_a_logged_500(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", [*PLAIN, ("X-Secret", "1")])
        raise error

    answer = await fetch(WsgiToAsgi(app), target="/path")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert answer.header("x-secret") is None
    (record,) = caplog.records
    assert record.name.startswith("asyncflask.adapters") and record.levelno == logging.ERROR
    assert "'/path'" in record.getMessage() and record.exc_info and record.exc_info[1] is error


async def test_an_error_at_the_first_step_is_a_500_and_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, result = app_that_raises(ValueError("mine"), 0)
    assert (await fetch(WsgiToAsgi(app))).status == 500
    assert result.closed == 1 and "mine" in caplog.text


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3)], ids=repr)
async def test_an_error_after_the_headers_is_raised(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    app, result = app_that_raises(error, 2)
    async with Exchange(WsgiToAsgi(app)) as exchange:
        answer = await exchange.end()
    raised = answer.error
    assert isinstance(raised, Exception) and error in (raised, raised.__cause__)
    assert answer.body == b"chunkchunk" and not answer.complete
    assert result.closed == 1 and caplog.records == []


async def test_an_error_in_close_is_raised_when_the_body_is_complete() -> None:
    class Result(Closing):
        def close(self) -> None:
            super().close()
            raise ValueError("from close")

    result = Result([b"a"])
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        answer = await exchange.end()
    assert answer.complete and str(answer.error) == "from close" and result.closed == 1


async def test_an_error_after_the_client_has_left_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def chunks() -> t.Iterator[bytes]:
        try:
            yield from endless()
        finally:
            raise ValueError("in the end")

    async with Exchange(WsgiToAsgi(respond(chunks))) as exchange:
        assert await exchange.chunk()
        exchange.disconnect()
    assert exchange.answer.error is None
    assert "after its client had left" in caplog.text and "in the end" in caplog.text


async def test_an_error_may_replace_the_response_before_it_is_sent() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", [*PLAIN, ("X-A", "b")])
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("503 Sorry", PLAIN, sys.exc_info())
        return [b"sorry"]

    answer = await fetch(WsgiToAsgi(app))
    assert (answer.status, answer.body, answer.header("x-a")) == (503, b"sorry", None)


async def test_an_error_after_the_headers_is_raised_by_start_response() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", PLAIN)
        yield b"chunk"
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("500 Oh", PLAIN, sys.exc_info())
            yield b"never"

    async with Exchange(WsgiToAsgi(app)) as exchange:
        answer = await exchange.end()
    assert (answer.body, str(answer.error), answer.complete) == (b"chunk", "mine", False)


# -- requests ----------------------------------------------------------------------------------


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


# -- the standard's own checks, and other protocols --------------------------------------------


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


async def test_applications_of_flasks_and_ours_run_below_a_prefix() -> None:
    for kind, request_of in ((flask.Flask, flask.request), (Flask, request)):
        app = kind("app")
        app.add_url_rule("/<name>", "view", lambda name: f"{request_of.url} {name}")  # noqa: B023
        scope = {"path": "/mounted/n", "root_path": "/mounted", "raw_path": b"/mounted/n"}
        wsgi = app.wsgi_app if kind is Flask else app
        answer = await fetch(WsgiToAsgi(wsgi), scope=scope)
        assert answer.text == "http://localhost/mounted/n n"


async def test_there_and_back_again() -> None:
    async def app(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"][::-1]})

    answer = await fetch(WsgiToAsgi(AsgiToWsgi(app)), "POST", body=b"abc")
    assert answer.body == b"cba"


async def test_a_lifespan_is_answered() -> None:
    async with Lifespan(WsgiToAsgi(respond([]))) as lifespan:
        assert lifespan.state == {}


async def test_a_websocket_is_refused() -> None:
    messages: list[t.Any] = []

    async def receive() -> t.Any:
        return {"type": "websocket.connect"}

    async def send(message: t.Any) -> None:
        messages.append(message)

    await WsgiToAsgi(respond([]))({"type": "websocket"}, receive, send)
    assert messages == [{"type": "websocket.close"}]
    with pytest.raises(ValueError, match="'other' is not known"):
        await WsgiToAsgi(respond([]))({"type": "other"}, receive, send)


def test_the_folder_has_only_its_two_names() -> None:
    import asyncflask.adapters as adapters

    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        adapters.Other  # noqa: B018
