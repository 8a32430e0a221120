"""Signals and hooks: what is sent when, with what, compared with Flask on the same application."""

from __future__ import annotations

import contextlib
import functools
import types
import typing as t

import flask
import pytest

import asyncflask

SIGNALS = (
    "template_rendered",
    "before_render_template",
    "request_started",
    "request_finished",
    "request_tearing_down",
    "got_request_exception",
    "appcontext_tearing_down",
    "appcontext_pushed",
    "appcontext_popped",
    "message_flashed",
)
Log = list[t.Any]
Scenario = t.Callable[[types.ModuleType, t.Any], t.Callable[[], t.Any]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(make: Scenario) -> Scenario:
    """Enter what builds a view; the package is passed, so that Flask runs the very same."""
    SCENARIOS[make.__name__] = make
    return make


@scenario
def plain(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: "plain"


@scenario
def stopped_by_a_hook(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.before_request(lambda: "stopped")
    return lambda: "never"


@scenario
def aborted(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: f.abort(418)


@scenario
def aborted_and_handled(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.register_error_handler(418, lambda error: ("tea", 200))
    return lambda: f.abort(418)


@scenario
def failed(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: {}["missing"]


@scenario
def failed_and_handled(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.register_error_handler(KeyError, lambda error: "handled")
    return lambda: {}["missing"]


@scenario
def failed_and_handled_as_500(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.register_error_handler(500, lambda e: (type(e.original_exception).__name__, 500))
    return lambda: {}["missing"]


@scenario
def handler_failed(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.register_error_handler(KeyError, lambda error: 1 / 0)
    return lambda: {}["missing"]


@scenario
def failed_before(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.before_request(lambda: 1 / 0)
    return lambda: "never"


@scenario
def failed_after(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.after_request(lambda response: 1 / 0)
    return lambda: "view"


@scenario
def no_response(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: None


@scenario
def propagated(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    app.testing = True
    return lambda: {}["missing"]


@scenario
def rendered(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: f.render_template_string("{{ word }}", word="w")


@scenario
def streamed_template(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: f.stream_template_string("{{ word }}", word="w")


@scenario
def render_failed(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: f.render_template_string("{{ 1 // 0 }}")


@scenario
def flashed(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    def view() -> str:
        f.flash("first")
        f.flash("second", "error")
        return f.render_template_string("{{ get_flashed_messages(True) }}")

    return view


@scenario
def streamed(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: (piece for piece in ("one", "two"))


@scenario
def streamed_with_context(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    return lambda: f.stream_with_context(f.request.path for _ in range(2))


@scenario
def another_context_inside(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    def view() -> str:
        with app.app_context(), app.test_request_context("/other"):
            return t.cast(str, f.request.path)

    return view


@scenario
def after_this_request(f: types.ModuleType, app: t.Any) -> t.Callable[[], t.Any]:
    def view() -> str:
        f.after_this_request(lambda response: f.make_response("other"))
        return "view"

    return view


@contextlib.contextmanager
def observed(f: types.ModuleType, app: t.Any, log: Log) -> t.Iterator[None]:
    """Have every signal and every kind of hook note that it was called, and with what."""

    def note(name: str, sender: t.Any, **extra: t.Any) -> None:
        shown = {key: _shown(value) for key, value in sorted(extra.items())}
        # Flask pushes the request after this signal; here a receiver that fails needs it.
        in_request = name != "appcontext_pushed" and f.has_request_context()
        log.append((name, sender is app, in_request, f.has_app_context(), shown))

    def noting(name: str) -> t.Callable[..., t.Any]:
        def hook(*args: t.Any) -> t.Any:
            log.append((name, *map(_shown, args)))
            return args[0] if name.startswith("after") else None

        return hook

    for name in ("before_request", "after_request", "teardown_request", "teardown_appcontext"):
        getattr(app, name)(noting(f"{name} 1"))
        getattr(app, name)(noting(f"{name} 2"))
    with contextlib.ExitStack() as stack:
        for name in SIGNALS:
            signal = getattr(f, name)
            stack.enter_context(signal.connected_to(functools.partial(note, name), app))
        yield


def _shown(value: t.Any) -> t.Any:
    """Give what must be equal in both packages."""
    if isinstance(value, BaseException):
        return type(value).__name__
    if hasattr(value, "status_code"):
        return value.status_code
    if isinstance(value, dict):
        return sorted(set(value) - {"g", "request", "session"})
    return value if isinstance(value, str) else type(value).__name__


def run(f: types.ModuleType, name: str, paint: t.Any = None, **client_args: t.Any) -> Log:
    log: Log = []
    app = f.Flask("app", root_path=".", static_folder=None)
    app.secret_key = "key"
    with observed(f, app, log):
        view = SCENARIOS[name](f, app)
        app.add_url_rule("/", "view", view if paint is None else paint(view))
        client = app.test_client(**client_args)
        for path in ("/", "/missing"):
            try:
                response = client.get(path)
            except KeyError as error:
                log.append(error.args)
            else:
                log.append((response.status_code, response.text))
    return log


def asynchronous(view: t.Callable[[], t.Any]) -> t.Any:
    async def view_async() -> t.Any:
        return view()

    return view_async


def torn_down_once(log: Log) -> Log:
    """Take out the teardown that Flask runs before a stream which keeps its context."""
    names = [entry[0] for entry in log]
    start = names.index("teardown_request 2")
    end = names.index("appcontext_pushed", start) + 1
    return log[:start] + log[end:]


each_transport = pytest.mark.parametrize("transport", ["wsgi", "asgi"])


@each_transport
@pytest.mark.parametrize("paint", [None, asynchronous], ids=["def", "async def"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_order_of_signals_and_hooks_is_flasks(name: str, paint: t.Any, transport: str) -> None:
    expected = run(flask, name)
    if name in {"streamed_template", "streamed_with_context"}:
        expected = torn_down_once(expected)
    assert run(asyncflask, name, paint, transport=transport) == expected


def in_contexts(f: types.ModuleType) -> Log:
    log: Log = []
    app = f.Flask("app", root_path=".", static_folder=None)
    other = f.Flask("other", root_path=".", static_folder=None)
    app.cli.command("command")(lambda: log.append("command"))
    with observed(f, app, log), observed(f, other, log):
        log.append("application contexts")
        with app.app_context(), other.app_context(), app.app_context():
            pass
        log.append("twice the same")
        with app.app_context() as ctx, ctx:
            pass
        log.append("a request context in one")
        with app.app_context(), app.test_request_context(), other.test_request_context():
            pass
        log.append("an error")
        with pytest.raises(KeyError), app.test_request_context():
            raise KeyError("lost")
        log.append("commands")
        app.test_cli_runner().invoke(args=["command"])
        log.append("a client that keeps the context")
        with app.test_client() as client:
            client.get("/")
            log.append("kept")
    return log


def test_signals_of_contexts_pushed_by_hand_are_flasks() -> None:
    assert in_contexts(asyncflask) == in_contexts(flask)


@pytest.mark.case("A42")
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
@pytest.mark.parametrize("name", SIGNALS)
def test_a_failing_receiver_leaves_no_teardown_out(name: str, transport: str) -> None:
    app = asyncflask.Flask("app", root_path=".", static_folder=None)
    app.secret_key = "key"
    torn: Log = []
    app.teardown_appcontext(torn.append)

    def fail(sender: t.Any, **extra: t.Any) -> t.NoReturn:
        raise ValueError("receiver")

    @app.get("/")
    def view() -> str:
        asyncflask.flash("message")
        return asyncflask.render_template_string("view")

    @app.get("/failing")
    def failing() -> t.NoReturn:
        raise KeyError("view")

    client = app.test_client(transport=transport)
    with getattr(asyncflask, name).connected_to(fail, app):
        if name == "got_request_exception":
            with pytest.raises(ValueError, match="receiver"):
                client.get("/failing")
        else:
            after_the_view = "tearing_down" in name or name == "appcontext_popped"
            assert client.get("/").status_code == (200 if after_the_view else 500)
    assert len(torn) == 1
    assert client.get("/").status_code == 200


# -- who is told -----------------------------------------------------------------------------


@pytest.fixture
def app() -> asyncflask.Flask:
    app = asyncflask.Flask("app", root_path=".", static_folder=None)
    app.add_url_rule("/", "view", lambda: asyncflask.render_template_string("{{ x }}", x=1))
    return app


@each_transport
def test_a_receiver_hears_of_the_sender_it_asked_for(app: asyncflask.Flask, transport: str) -> None:
    other = asyncflask.Flask("other", root_path=".", static_folder=None)
    own: Log = []
    every: Log = []

    def hear(sender: t.Any, **extra: t.Any) -> None:
        own.append(sender)

    def hear_all(sender: t.Any, **extra: t.Any) -> None:
        every.append(sender)

    signal = asyncflask.request_started
    with signal.connected_to(hear, app), signal.connected_to(hear_all):
        app.test_client(transport=transport).get("/")
        other.test_client(transport=transport).get("/")
    app.test_client(transport=transport).get("/")
    assert own == [app]
    assert every == [app, other]


@each_transport
def test_the_sender_is_the_application_itself(app: asyncflask.Flask, transport: str) -> None:
    senders: set[type] = set()

    def hear(sender: t.Any, **extra: t.Any) -> None:
        senders.add(type(sender))

    with asyncflask.template_rendered.connected_to(hear):
        app.test_client(transport=transport).get("/")
    assert senders == {asyncflask.Flask}


@each_transport
def test_a_receiver_that_is_gone_is_forgotten(app: asyncflask.Flask, transport: str) -> None:
    heard: Log = []

    def hear(sender: t.Any, **extra: t.Any) -> None:
        heard.append(sender)

    asyncflask.request_started.connect(hear, app)
    asyncflask.request_started.disconnect(hear, app)
    asyncflask.request_finished.connect(hear, app)
    del hear
    assert app.test_client(transport=transport).get("/").status_code == 200
    assert heard == []


@each_transport
def test_sync_and_async_receivers_are_called_together(
    app: asyncflask.Flask, transport: str
) -> None:
    heard: list[int] = []
    receivers: list[t.Any] = []
    for number in range(6):
        act = functools.partial(heard.append, number)

        def hear(sender: t.Any, act: t.Any = act, **extra: t.Any) -> None:
            act()

        async def hear_async(sender: t.Any, act: t.Any = act, **extra: t.Any) -> None:
            act()

        receivers.append(hear_async if number % 2 else hear)
        asyncflask.request_started.connect(receivers[-1], app)
    app.test_client(transport=transport).get("/")
    # blinker keeps no order.
    assert sorted(heard) == list(range(6))


def test_signals_have_flasks_names_and_a_namespace_of_their_own() -> None:
    for name in SIGNALS:
        ours, theirs = getattr(asyncflask, name), getattr(flask, name)
        assert ours.name == theirs.name
        assert ours is getattr(asyncflask.signals, name)
        assert ours is not theirs
        assert asyncflask.signals._signals.signal(name.replace("_", "-")) is ours
    assert asyncflask.signals.Namespace is flask.signals.Namespace


@pytest.mark.parametrize("package", [flask, asyncflask], ids=lambda package: package.__name__)
@pytest.mark.parametrize("name", ["request_started", "request_finished", "message_flashed"])
def test_a_signal_that_is_muted_is_not_sent(package: t.Any, name: str) -> None:
    app = package.Flask("app", static_folder=None)
    app.secret_key = "secret"
    app.add_url_rule("/", "index", lambda: package.flash("message") or "text")
    check_muted(getattr(package, name), app, app.test_client())


@pytest.mark.parametrize("name", ["request_started", "request_finished", "message_flashed"])
def test_a_signal_that_is_muted_is_not_sent_from_the_loop(name: str) -> None:
    app = asyncflask.Flask("app", static_folder=None)

    async def index() -> str:
        asyncflask.flash("message")
        return "text"

    app.secret_key = "secret"
    app.add_url_rule("/", "index", index)
    check_muted(getattr(asyncflask, name), app, app.test_client(transport="asgi"))


def check_muted(signal: t.Any, app: t.Any, client: t.Any) -> None:
    heard: Log = []

    def listen(sender: t.Any, **kwargs: t.Any) -> None:
        heard.append(sender)

    with signal.connected_to(listen, app):
        with signal.muted():
            assert client.get("/").text == "text"
        assert heard == []
        client.get("/")
        assert heard == [app]
