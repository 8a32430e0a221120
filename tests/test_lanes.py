"""Where user code runs, seen from outside: thread ids and ContextVars of every stage."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import signal
import threading
import time
import typing as t
from pathlib import Path
from queue import SimpleQueue

import anyio
import pytest

import asyncflask
from asyncflask import Flask
from asyncflask.lanes import adds_code
from asyncflask.lanes import background_loop
from asyncflask.lanes import current_task
from asyncflask.lanes import io_workers
from asyncflask.lanes import run_sync
from asyncflask.lanes import Workers
from asyncflask.lanes.portal import is_in_scope

STAGES = ("before", "view", "error", "after", "teardown")
COLOURS = list(itertools.product("sa", repeat=len(STAGES)))

trail: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("trail", default=())


class Recorder:
    """Makes the stages of an application, sync or async, and notes what each one saw."""

    def __init__(self) -> None:
        self.threads: dict[str, int] = {}
        self.seen: dict[str, tuple[str, ...]] = {}

    def stage(self, name: str, colour: str, action: t.Callable[..., t.Any]) -> t.Any:
        def note() -> None:
            self.threads[name] = threading.get_ident()
            self.seen[name] = trail.get()
            trail.set((*trail.get(), name))

        def sync_stage(*args: t.Any) -> t.Any:
            note()
            return action(*args)

        async def async_stage(*args: t.Any) -> t.Any:
            note()
            await asyncio.sleep(0)
            return action(*args)

        return sync_stage if colour == "s" else async_stage


def give_back(response: t.Any) -> t.Any:
    return response


def fail() -> t.NoReturn:
    raise LookupError("the view fails")


def build(colours: tuple[str, ...]) -> tuple[Flask, Recorder]:
    app = Flask(__name__)
    recorder = Recorder()
    before, view, error, after, teardown = colours
    app.before_request(recorder.stage("before", before, lambda: None))
    app.add_url_rule("/", "view", recorder.stage("view", view, fail))
    app.register_error_handler(LookupError, recorder.stage("error", error, lambda e: "handled"))
    app.after_request(recorder.stage("after", after, give_back))
    app.teardown_request(recorder.stage("teardown", teardown, lambda exc: None))
    return app, recorder


@pytest.mark.case("A6")
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
@pytest.mark.parametrize("colours", COLOURS, ids="".join)
def test_stages_run_in_their_lane_and_share_context_variables(
    colours: tuple[str, ...], transport: str
) -> None:
    app, recorder = build(colours)
    response = app.test_client(transport=transport).get("/")
    assert response.text == "handled"
    assert tuple(recorder.threads) == STAGES
    for index, name in enumerate(STAGES):
        assert recorder.seen[name] == STAGES[:index]

    by_colour: dict[str, set[int]] = {"s": set(), "a": set()}
    for name, colour in zip(STAGES, colours, strict=True):
        by_colour[colour].add(recorder.threads[name])
    assert len(by_colour["s"]) <= 1, "sync stages ran on several threads"
    loop_thread = thread_of(background_loop())
    assert by_colour["a"] <= {loop_thread}
    assert loop_thread not in by_colour["s"]
    if transport == "wsgi":
        assert by_colour["s"] <= {threading.get_ident()}
    assert trail.get() == (), "a variable of the request is seen outside"


def thread_of(loop: asyncio.AbstractEventLoop) -> int:
    async def ident() -> int:
        return threading.get_ident()

    return asyncio.run_coroutine_threadsafe(ident(), loop).result(5)


def test_a_sync_request_under_wsgi_touches_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncflask.lanes.portal._background", None)
    app = Flask(__name__)
    app.before_request(lambda: None)
    app.add_url_rule("/", "view", lambda: threading.current_thread().name)
    assert app.test_client().get("/").text == threading.current_thread().name
    assert asyncflask.lanes.portal._background is None


@pytest.mark.case("A6")
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_a_token_made_on_one_side_is_good_on_the_other(transport: str) -> None:
    app = Flask(__name__)
    tokens: list[contextvars.Token[tuple[str, ...]]] = []

    @app.before_request
    def take() -> None:
        tokens.append(trail.set(("sync",)))

    @app.get("/")
    async def view() -> str:
        trail.reset(tokens.pop())
        tokens.append(trail.set(("async",)))
        return "ok"

    @app.after_request
    def give(response: asyncflask.Response) -> asyncflask.Response:
        trail.reset(tokens.pop())
        response.headers["X-Trail"] = repr(trail.get())
        return response

    assert app.test_client(transport=transport).get("/").headers["X-Trail"] == "()"


@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_ensure_sync_in_a_sync_view_runs_on_the_loop_and_carries_variables_back(
    transport: str,
) -> None:
    app = Flask(__name__)

    async def inner() -> int:
        await asyncio.sleep(0)
        trail.set((*trail.get(), asyncflask.request.path))
        return threading.get_ident()

    @app.get("/")
    def view() -> list[t.Any]:
        trail.set(("view",))
        ident = app.ensure_sync(inner)()
        return [ident != threading.get_ident(), list(trail.get())]

    assert app.test_client(transport=transport).get("/").json == [True, ["view", "/"]]


@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_what_a_sync_decorator_returns_from_an_async_view_is_awaited(transport: str) -> None:
    app = Flask(__name__)

    def decorate(view: t.Callable[[], t.Any]) -> t.Callable[[], t.Any]:
        def wrapper() -> t.Any:
            return view()

        return wrapper

    @app.get("/")
    @decorate
    async def view() -> str:
        await asyncio.sleep(0)
        return "awaited"

    assert app.test_client(transport=transport).get("/").text == "awaited"


def test_an_inline_hook_stays_on_the_loop() -> None:
    app = Flask(__name__)
    threads = []

    @app.before_request
    @asyncflask.inline
    def hook() -> None:
        threads.append(threading.get_ident())

    @app.get("/")
    async def view() -> str:
        threads.append(threading.get_ident())
        return "ok"

    assert app.test_client(transport="asgi").get("/").text == "ok"
    assert threads[0] == threads[1]


def test_inline_refuses_async_functions() -> None:
    async def hook() -> None: ...

    with pytest.raises(TypeError, match="async"):
        asyncflask.inline(hook)


async def get(app: Flask, path: str) -> tuple[int, bytes]:
    """One request straight into the ASGI face, from the task it is called in."""
    sent: list[t.Any] = []

    async def receive() -> t.Any:
        await anyio.sleep_forever()

    async def send(message: t.Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])


@pytest.mark.anyio
async def test_waiting_async_views_hold_no_thread_slot() -> None:
    app = Flask(__name__)
    app.config["SYNC_THREADS"] = 2
    app.before_request(lambda: None)
    released = asyncio.Event()
    entered = 0

    @app.get("/")
    async def view() -> str:
        nonlocal entered
        entered += 1
        if entered == 20:
            released.set()
        await released.wait()
        return "ok"

    with anyio.fail_after(20):
        answers = await asyncio.gather(*[get(app, "/") for _ in range(20)])
    assert answers == [(200, b"ok")] * 20


@pytest.mark.case("A2")
@pytest.mark.anyio
async def test_a_cancelled_request_is_torn_down_after_its_thread_has_let_go() -> None:
    app = Flask(__name__)
    events = []
    started, go_on = threading.Event(), threading.Event()

    @app.teardown_request
    async def teardown(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        events.append(type(exc))

    @app.get("/")
    def view() -> str:
        started.set()
        go_on.wait(10)
        events.append("view ended")
        return "ok"

    task = asyncio.create_task(get(app, "/"))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert events == []
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events[0] == "view ended" and len(events) == 2


@pytest.mark.anyio
async def test_cancellation_by_a_scope_does_not_interrupt_teardown() -> None:
    app = Flask(__name__)
    torn_down = []

    @app.teardown_request
    async def teardown(exc: BaseException | None) -> None:
        await anyio.sleep(0.01)
        torn_down.append(type(exc))

    @app.get("/")
    async def view() -> str:
        await anyio.sleep_forever()
        return "never"

    with anyio.move_on_after(0.05):
        await get(app, "/")
    assert torn_down == [asyncio.CancelledError]


@pytest.mark.case("A9")
@pytest.mark.anyio
async def test_a_full_queue_answers_503() -> None:
    app = Flask(__name__)
    app.config.update(SYNC_THREADS=1, SYNC_QUEUE_LIMIT=0)
    torn_down: list[str] = []
    app.teardown_request(lambda exc: torn_down.append("sync"))
    started, go_on = threading.Event(), threading.Event()

    @app.get("/")
    def view() -> str:
        started.set()
        go_on.wait(10)
        return "ok"

    first = asyncio.create_task(get(app, "/"))
    await asyncio.to_thread(started.wait, 10)
    second = asyncio.create_task(get(app, "/"))
    # The refused request waits for a slot all the same, but for its teardown only.
    await asyncio.sleep(0.05)
    go_on.set()
    assert (await second)[0] == 503
    assert (await first) == (200, b"ok")
    assert torn_down == ["sync", "sync"]


def test_an_async_context_in_sync_code_on_a_loop_names_the_remedy() -> None:
    app = Flask(__name__)

    @app.teardown_appcontext
    async def teardown(exc: BaseException | None) -> None: ...

    async def main() -> None:
        with pytest.raises(RuntimeError, match="async with"):
            with app.app_context():
                pass
        async with app.app_context():
            assert asyncflask.current_app.name == app.name

    asyncio.run(main())


@pytest.mark.anyio
async def test_a_cancellation_just_before_ensure_sync_starts_hangs_nobody() -> None:
    app = Flask(__name__)
    loop = asyncio.get_running_loop()
    gate = threading.Event()

    async def inner() -> None:
        await anyio.sleep_forever()

    @app.get("/")
    def view() -> str:
        # The start of inner() and the cancellation reach the loop in one go, in this order.
        loop.call_soon_threadsafe(gate.wait, 10)
        threading.Timer(0.01, gate.set).start()
        loop.call_soon_threadsafe(task.cancel)
        app.ensure_sync(inner)()
        return "never"

    task = asyncio.create_task(get(app, "/"))
    with anyio.fail_after(10), pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.anyio
async def test_ensure_sync_in_a_request_that_is_cancelled_already_does_not_wait() -> None:
    app = Flask(__name__)
    started, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    async def inner() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0)
            seen.append("cleaned up")

    async def release() -> None:
        await anyio.sleep(0)
        seen.append("released")

    @app.get("/")
    def view() -> str:
        started.set()
        go_on.wait(10)
        try:
            app.ensure_sync(inner)()
        finally:
            app.ensure_sync(release)()
        return "never"

    task = asyncio.create_task(get(app, "/"))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with anyio.fail_after(10), pytest.raises(asyncio.CancelledError):
        await task
    # Whether inner() began before it was cancelled is a matter of time.
    assert seen in (["released"], ["cleaned up", "released"])


class Alarm(BaseException):
    """What a server's signal handler raises in the thread that serves."""


@pytest.mark.parametrize("kind", ["async view", "ensure_sync"])
def test_an_exception_of_a_signal_handler_cancels_what_the_thread_waits_for(kind: str) -> None:
    app = Flask(__name__)
    waiting, cancelled = threading.Event(), threading.Event()
    torn_down: list[int] = []
    app.teardown_request(lambda exc: torn_down.append(threading.get_ident()))

    async def wait() -> str:
        try:
            waiting.set()
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return "never"

    app.add_url_rule("/", "view", wait if kind == "async view" else app.ensure_sync(wait))

    def ring(number: int, frame: object) -> None:
        raise Alarm

    def send_signal() -> None:
        waiting.wait(10)
        signal.pthread_kill(serving, signal.SIGUSR1)

    serving = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, ring)
    thread = threading.Thread(target=send_signal)
    thread.start()
    try:
        with pytest.raises(Alarm):
            app.test_client().get("/")
    finally:
        thread.join(10)
        signal.signal(signal.SIGUSR1, before)
    assert cancelled.wait(10)
    assert torn_down == [serving]


def test_a_process_forked_in_a_view_has_a_loop_of_its_own(tmp_path: Path) -> None:
    app = Flask(__name__)
    answer = tmp_path / "answer"

    async def inner() -> str:
        return str(os.getpid())

    @app.get("/")
    def view() -> str:
        child = os.fork()
        if not child:
            try:
                signal.alarm(10)
                answer.write_text(app.ensure_sync(inner)())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return str(child)

    assert app.test_client(transport="asgi").get("/").text == answer.read_text()


def test_a_process_forked_from_one_that_served_has_threads_of_its_own(tmp_path: Path) -> None:
    app = Flask(__name__)
    app.get("/")(lambda: str(threading.current_thread().name))
    client = app.test_client(transport="asgi")
    # The thread that has served this is idle when the process forks.
    name = client.get("/").text
    answer = tmp_path / "answer"
    child = os.fork()
    if not child:
        try:
            signal.alarm(10)
            answer.write_text(client.get("/").text)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert answer.read_text() == name == "asyncflask-worker"


class Waiting:
    """A blocking function that waits to be let go, and its caller; notes who has ended."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()
        self.ended: list[str] = []

    def block(self) -> None:
        self.started.set()
        self.go_on.wait(10)
        self.ended.append("function")

    async def call(self) -> None:
        try:
            await run_sync(io_workers(), self.block)
        finally:
            self.ended.append("caller")


@pytest.mark.anyio
async def test_a_blocking_function_that_runs_is_waited_for_however_often_it_is_cancelled() -> None:
    waiting = Waiting()
    task = asyncio.create_task(waiting.call())
    await asyncio.to_thread(waiting.started.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert waiting.ended == []
    waiting.go_on.set()
    with anyio.fail_after(10), pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.ended == ["function", "caller"]


@pytest.mark.anyio
async def test_a_scope_that_is_cancelled_lets_a_blocking_function_end_that_runs() -> None:
    waiting = Waiting()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(waiting.call)
            await asyncio.to_thread(waiting.started.wait, 10)
            group.cancel_scope.cancel()
            for _ in range(3):
                await anyio.lowlevel.cancel_shielded_checkpoint()
            assert waiting.ended == []
            waiting.go_on.set()
    assert waiting.ended == ["function", "caller"]


@pytest.mark.anyio
async def test_a_scope_that_is_cancelled_does_not_keep_the_loop_busy_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    made: list[asyncio.Future[t.Any]] = []

    def make() -> asyncio.Future[t.Any]:
        made.append(asyncio.Future(loop=loop))
        return made[-1]

    monkeypatch.setattr(loop, "create_future", make)
    with anyio.move_on_after(0.05) as scope:
        await run_sync(io_workers(), time.sleep, 0.3)
    # To be cancelled again and again, by the scope, takes one each time.
    assert scope.cancelled_caught and len(made) < 10


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["task", "scope"])
async def test_a_blocking_function_that_waits_for_a_thread_is_not_called_once_cancelled(
    by: str,
) -> None:
    pool, go_on = Workers(1), threading.Event()
    called: list[str] = []
    scope = anyio.CancelScope()

    async def caller() -> None:
        with scope:
            await run_sync(pool, called.append, "function")

    first = asyncio.create_task(run_sync(pool, go_on.wait, 10))
    await asyncio.sleep(0)
    second = asyncio.create_task(caller())
    await asyncio.sleep(0)
    if by == "task":
        second.cancel()
    else:
        scope.cancel()
    with anyio.fail_after(10):
        await asyncio.wait({second})
        go_on.set()
        assert await first
    assert (second.cancelled(), called) == (by == "task", [])


class Base:
    own: t.Any = len

    def method(self) -> None:
        """Nothing."""


class WithData(Base):
    """A docstring, a number and an annotation are no code."""

    number: int = 1
    names = ("a", "b")


class WithMethod(WithData):
    def method(self) -> None:
        """Something else."""


class WithProperty(Base):
    name = property(str)


class WithClass(Base):
    storage = dict


class Mixin:
    def method(self) -> None:
        """A third thing."""


class Mixed(Mixin, Base):
    pass


@pytest.mark.anyio
async def test_a_thread_that_is_kept_is_there_when_none_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = 0

    class Jobs(SimpleQueue[t.Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> t.Any:
            nonlocal waits
            waits += 1
            if waits == 3:
                waited.set()
            return super().get(timeout=0.01 if waits < 3 else timeout)

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    waited = threading.Event()
    workers = Workers()
    workers._jobs = Jobs()
    workers.keep_thread()
    assert await asyncio.to_thread(waited.wait, 5)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        name = await run_sync(workers, lambda: threading.current_thread().name)
    assert name == "asyncflask-worker"


def test_a_class_of_the_user_s_that_adds_nothing_but_data_adds_no_code() -> None:
    for kind in (Base, WithData, object):
        assert not adds_code(kind, Base), kind
    for kind in (WithMethod, WithProperty, WithClass, Mixin, Mixed):
        assert adds_code(kind, Base), kind


async def test_a_scope_of_anyio_is_seen() -> None:
    async def alone() -> list[bool]:
        own = current_task()
        assert own is not None
        seen = [is_in_scope(own)]
        with anyio.CancelScope():
            seen.append(is_in_scope(own))
            with anyio.CancelScope(shield=True):
                seen.append(is_in_scope(own))
            seen.append(is_in_scope(own))
        return [*seen, is_in_scope(own)]

    assert await asyncio.create_task(alone()) == [False, True, True, True, False]
