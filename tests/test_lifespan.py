"""Start-up and shutdown: order, contexts, state, and everything that can fail."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
import typing as t

import anyio
import pytest
from starlette.middleware.gzip import GZipMiddleware

import asyncflask
from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import request
from asyncflask.adapters.lifespan import DRAIN_TIMEOUT
from tests.kit.drive import fetch
from tests.kit.drive import Lifespan
from tests.kit.leaks import no_tasks_left

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


class Log(list[str]):
    """Makes functions, sync and async ones in turns, that note that they were called."""

    def function(self, name: str, error: BaseException | None = None) -> t.Callable[[], t.Any]:
        def note() -> None:
            self.append(name)
            if error is not None:
                raise error

        async def note_async() -> None:
            await asyncio.sleep(0)
            note()

        self._made = not getattr(self, "_made", False)
        return note_async if self._made else note

    def generator(
        self,
        name: str,
        colour: str,
        starting: BaseException | None = None,
        stopping: BaseException | None = None,
    ) -> t.Callable[[], t.Any]:
        def around() -> t.Iterator[None]:
            self.append(f"{name} starts")
            if starting is not None:
                raise starting
            yield
            self.append(f"{name} stops")
            if stopping is not None:
                raise stopping

        async def around_async() -> t.AsyncIterator[None]:
            for _ in around():
                await asyncio.sleep(0)
                yield

        return around if colour == "sync" else around_async


@pytest.fixture
def log() -> Log:
    return Log()


def everything(log: Log, **errors: BaseException) -> Flask:
    """Make an application that has two of everything; those named in *errors* fail."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Flask) -> t.AsyncIterator[None]:
        log.append(f"enter {app.name == current_app.name}")
        try:
            yield
        finally:
            log.append(f"exit {app.name == current_app.name}")

    app = Flask(__name__, lifespan=lifespan)
    for number in ("1", "2"):
        app.before_serving(log.function(f"before {number}", errors.get(f"before{number}")))
        app.after_serving(log.function(f"after {number}", errors.get(f"after{number}")))
        failing = (errors.get(f"start{number}"), errors.get(f"stop{number}"))
        colour = "sync" if number == "1" else "async"
        app.while_serving(log.generator(f"while {number}", colour, *failing))
    return app


WHOLE_START = ["enter True", "before 1", "before 2", "while 1 starts", "while 2 starts"]
WHOLE_STOP = ["while 2 stops", "while 1 stops", "after 2", "after 1", "exit True"]


async def test_everything_runs_in_order_and_is_undone_in_reverse(log: Log) -> None:
    async with Lifespan(everything(log)):
        assert log == WHOLE_START
    assert log == WHOLE_START + WHOLE_STOP


async def test_a_request_from_before_the_start_is_not_waited_for(app: Flask) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @app.get("/")
    async def view() -> str:
        started.set()
        await go_on.wait()
        return "ended"

    # In a process that has forked, one of the parent's never ends.
    task = asyncio.create_task(fetch(app))
    await started.wait()
    with anyio.fail_after(DRAIN_TIMEOUT / 2):
        async with Lifespan(app):
            pass
    go_on.set()
    assert (await task).text == "ended"


async def test_functions_run_in_an_application_context_and_in_their_lane(app: Flask) -> None:
    seen: dict[str, tuple[str, bool]] = {}

    def note(name: str) -> None:
        seen[name] = (current_app.name, threading.get_ident() == loop_thread)

    @app.while_serving
    def around() -> t.Iterator[None]:
        note("sync starts")
        yield
        note("sync stops")

    @app.while_serving
    async def around_async() -> t.AsyncIterator[None]:
        note("async starts")
        yield
        note("async stops")

    async def before() -> None:
        note("async before")

    loop_thread = threading.get_ident()
    app.before_serving(before)
    app.after_serving(lambda: note("sync after"))
    app.before_serving(asyncflask.inline(functools.partial(note, "inline before")))
    async with Lifespan(app):
        pass
    assert {name for name, _ in seen.values()} == {app.name}
    assert {n for n, (_, on_loop) in seen.items() if not on_loop} == {
        "sync starts",
        "sync stops",
        "sync after",
    }


async def test_a_blueprint_has_the_same_decorators(app: Flask, log: Log) -> None:
    blueprint = Blueprint("b", __name__)
    blueprint.before_app_serving(log.function("before"))
    blueprint.after_app_serving(log.function("after"))
    blueprint.while_app_serving(log.generator("while", "async"))
    app.register_blueprint(blueprint)
    async with Lifespan(app):
        pass
    assert log == ["before", "while starts", "while stops", "after"]


async def test_what_a_sync_function_returns_is_awaited_if_it_can_be(app: Flask, log: Log) -> None:
    async def coroutine(name: str) -> None:
        log.append(name)

    app.before_serving(lambda: coroutine("before"))
    app.after_serving(lambda: coroutine("after"))
    async with Lifespan(app):
        pass
    assert log == ["before", "after"]


async def test_context_variables_set_at_the_start_are_seen_later(app: Flask) -> None:
    variable = contextvars.ContextVar("variable", default="")
    seen: list[str] = []
    app.before_serving(lambda: variable.set("set") and None)
    app.after_serving(lambda: seen.append(variable.get()))
    async with Lifespan(app):
        pass
    assert seen == ["set"] and variable.get() == ""


# -- state -----------------------------------------------------------------------------------


def stateful(yielded: t.Any) -> Flask:
    @contextlib.asynccontextmanager
    async def lifespan(app: Flask) -> t.AsyncIterator[t.Any]:
        yield yielded

    app = Flask(__name__, lifespan=lifespan)

    @app.get("/")
    async def view() -> t.Any:
        assert request.scope is not None
        return request.scope["state"]

    return app


async def test_what_the_lifespan_yields_is_the_state_of_every_request() -> None:
    app = stateful({"pool": "a pool"})
    async with Lifespan(app) as lifespan:
        assert lifespan.state == {"pool": "a pool"}
        answer = await fetch(app, scope={"state": lifespan.state.copy()})
        assert answer.json == {"pool": "a pool"}
    async with app.async_test_client() as client:
        assert (await client.get("/")).json() == {"pool": "a pool"}


async def test_state_that_the_server_cannot_keep_is_an_error() -> None:
    answer = await (lifespan := Lifespan(stateful({"pool": 1}), state=False)).start()
    assert lifespan.task is not None
    await lifespan.task
    assert answer["type"] == "lifespan.startup.failed"
    assert "'pool': 1" in answer["message"] and "app.extensions" in answer["message"]
    async with Lifespan(stateful(None), state=False):
        pass


# -- failures --------------------------------------------------------------------------------

FAILING_STARTS = {
    "before1": ["enter True", "before 1", "after 2", "after 1", "exit True"],
    "before2": ["enter True", "before 1", "before 2", "after 2", "after 1", "exit True"],
    "start1": [*WHOLE_START[:-1], "after 2", "after 1", "exit True"],
    "start2": [*WHOLE_START, "while 1 stops", "after 2", "after 1", "exit True"],
}
ERRORS = [LookupError("no pool"), ExceptionGroup("several", [LookupError("no pool")])]


@pytest.mark.case("A36")
@pytest.mark.parametrize("error", [*ERRORS, SystemExit("no pool")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("where", FAILING_STARTS)
async def test_a_failing_start_is_reported_with_everything_undone_in_reverse(
    log: Log, where: str, error: BaseException
) -> None:
    lifespan = Lifespan(everything(log, **{where: error}))
    answer = await lifespan.start()
    assert lifespan.task is not None
    await lifespan.task
    assert answer["type"] == "lifespan.startup.failed"
    assert "no pool" in answer["message"] and "Traceback" in answer["message"]
    assert log == FAILING_STARTS[where]


@pytest.mark.case("A36")
async def test_a_lifespan_that_cannot_be_entered_is_reported(log: Log) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Flask) -> t.AsyncIterator[None]:
        raise LookupError("no pool")
        yield

    app = Flask(__name__, lifespan=lifespan)
    app.before_serving(log.function("before"))
    app.after_serving(log.function("after"))
    answer = await Lifespan(app).start()
    assert answer["type"] == "lifespan.startup.failed" and "no pool" in answer["message"]
    assert log == []


@pytest.mark.case("A36")
async def test_a_lifespan_that_hides_an_error_hides_no_failing_start(app: Flask) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Flask) -> t.AsyncIterator[None]:
        with contextlib.suppress(LookupError):
            yield

    app = Flask(__name__, lifespan=lifespan)
    app.before_serving(Log().function("before", LookupError("no pool")))
    assert (await Lifespan(app).start())["type"] == "lifespan.startup.failed"


@pytest.mark.case("A36")
@pytest.mark.parametrize(
    "failing",
    [["stop1"], ["stop2"], ["after1"], ["after2"], ["stop1", "stop2", "after1", "after2"]],
    ids="+".join,
)
async def test_a_failing_shutdown_is_reported_after_everything_was_tried(
    log: Log, failing: list[str]
) -> None:
    errors = {name: LookupError(f"{name} fails") for name in failing}
    lifespan = Lifespan(everything(log, **errors))
    await lifespan.start()
    answer = await lifespan.stop()
    assert lifespan.task is not None
    await lifespan.task
    assert answer["type"] == "lifespan.shutdown.failed"
    assert all(f"{name} fails" in answer["message"] for name in failing)
    assert log == WHOLE_START + WHOLE_STOP


@pytest.mark.case("A36")
@pytest.mark.parametrize("by", ["task", "scope"])
async def test_a_server_that_ends_without_a_word_has_everything_undone(log: Log, by: str) -> None:
    async def pause() -> None:
        await anyio.sleep(0)
        log.append("paused")

    app = everything(log)
    app.after_serving(pause)
    lifespan = Lifespan(app)
    if by == "task":
        await lifespan.start()
        assert lifespan.task is not None
        lifespan.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lifespan.task
    else:
        async with anyio.create_task_group() as group:
            await group.start(run_lifespan, app)
            group.cancel_scope.cancel()
    assert log == WHOLE_START + ["while 2 stops", "while 1 stops", "paused", *WHOLE_STOP[2:]]


async def run_lifespan(app: Flask, *, task_status: t.Any) -> None:
    asked = False

    async def receive() -> dict[str, str]:
        nonlocal asked
        if asked:
            await anyio.sleep_forever()
        asked = True
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        task_status.started()

    await app({"type": "lifespan"}, receive, send)


@pytest.mark.parametrize("how", ["lifespan", "while_serving"])
@pytest.mark.parametrize("end", ["start fails", "cancelled", "shutdown"])
async def test_task_groups_may_span_the_time_of_serving(log: Log, how: str, end: str) -> None:
    @contextlib.asynccontextmanager
    async def around(app: t.Any = None) -> t.AsyncIterator[None]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                yield
                group.cancel_scope.cancel()
        finally:
            log.append("left")

    app = Flask(__name__, lifespan=around if how == "lifespan" else None)
    if how != "lifespan":
        app.while_serving(lambda: around.__wrapped__())  # type: ignore[attr-defined]
    app.while_serving(log.generator("other", "async", LookupError() if "fails" in end else None))
    lifespan = Lifespan(app)
    answer = await lifespan.start()
    assert lifespan.task is not None
    if end == "cancelled":
        lifespan.task.cancel()
        await asyncio.wait({lifespan.task})
    elif end == "shutdown":
        assert await lifespan.stop() == {"type": "lifespan.shutdown.complete"}
    else:
        assert answer["type"] == "lifespan.startup.failed"
        assert "cancel scope" not in answer["message"]
    assert log[-1] == "left"


async def test_while_serving_wants_a_generator_with_one_yield(app: Flask) -> None:
    def no_generator() -> int:
        return 3

    def no_yield() -> t.Iterator[None]:
        return
        yield

    async def two_yields() -> t.AsyncIterator[None]:
        yield
        yield

    for function, message in ((no_generator, "returned 3"), (no_yield, "without a 'yield'")):
        app = Flask(__name__)
        app.while_serving(function)
        answer = await Lifespan(app).start()
        assert answer["type"] == "lifespan.startup.failed" and message in answer["message"]
    app = Flask(__name__)
    app.while_serving(two_yields)
    lifespan = Lifespan(app)
    assert (await lifespan.start())["type"] == "lifespan.startup.complete"
    answer = await lifespan.stop()
    assert answer["type"] == "lifespan.shutdown.failed" and "second 'yield'" in answer["message"]


# -- the test client -------------------------------------------------------------------------


async def test_the_async_client_runs_the_lifespan_around_its_requests(log: Log) -> None:
    app = everything(log)
    app.add_url_rule("/", "view", lambda: " ".join(log[-1:]))
    async with app.async_test_client() as client:
        assert (await client.get("/")).text == "while 2 starts"
    assert log == WHOLE_START + WHOLE_STOP


async def test_the_async_client_streams_from_what_was_opened_at_the_start(app: Flask) -> None:
    opened: list[str] = []

    @app.while_serving
    async def pool() -> t.AsyncIterator[None]:
        opened.append("row")
        yield
        opened.clear()

    @app.get("/")
    async def view() -> t.Any:
        async def rows() -> t.AsyncIterator[str]:
            for row in opened * 3:
                await asyncio.sleep(0)
                yield f"{request.args['prefix']}{row} "

        return asyncflask.stream_with_context(rows())

    app.add_middleware(GZipMiddleware, minimum_size=1)
    async with app.async_test_client() as client:
        response = await client.get("/?prefix=a-")
        assert response.text == "a-row a-row a-row "
        assert response.headers["Content-Encoding"] == "gzip"
    assert opened == []


async def test_the_async_client_raises_what_fails_at_the_start(log: Log) -> None:
    app = everything(log, before2=LookupError("no pool"))
    with pytest.raises(RuntimeError, match="no pool"):
        async with app.async_test_client():
            raise AssertionError("the block is not entered")
    assert log[-1] == "exit True"
