"""The application's logger: set up as Flask's, and what is logged of a request."""

from __future__ import annotations

import io
import logging
import logging.config
import sys
import types
import typing as t

import flask
import pytest

import asyncflask
from asyncflask import Flask
from asyncflask import request
from asyncflask.logging import default_handler
from asyncflask.logging import wsgi_errors_stream

each_transport = pytest.mark.parametrize("transport", ["wsgi", "asgi"])
both_packages = pytest.mark.parametrize("f", [flask, asyncflask], ids=["flask", "asyncflask"])
each_colour = pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])
NAME = "logging_test_app"


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[logging.Logger]:
    """Give the application's logger a root of its own: pytest has handlers on the real one."""
    root, own = logging.RootLogger(logging.WARNING), logging.getLogger(NAME)
    monkeypatch.setattr(own, "parent", root)
    yield root
    own.handlers = []
    own.setLevel(logging.NOTSET)
    own.propagate = True


@pytest.fixture
def app() -> Flask:
    return make_app(asyncflask)


def make_app(f: types.ModuleType) -> t.Any:
    return f.Flask(NAME, root_path=".", static_folder=None)


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def lines(self) -> list[tuple[str, str, t.Any]]:
        return [
            (record.levelname, record.getMessage(), record.exc_info and record.exc_info[0])
            for record in self.records
        ]


# -- setting up -------------------------------------------------------------------------------


@both_packages
def test_the_logger_has_the_applications_name_and_a_handler(f: types.ModuleType) -> None:
    app = make_app(f)
    assert app.logger.name == NAME
    assert app.logger is logging.getLogger(NAME) is app.logger
    assert app.logger.level == logging.NOTSET
    assert app.logger.handlers == [f.logging.default_handler]


@both_packages
def test_debug_mode_logs_everything(f: types.ModuleType) -> None:
    app = make_app(f)
    app.debug = True
    assert app.logger.level == logging.DEBUG


@both_packages
def test_a_logger_that_is_set_up_is_left_alone(f: types.ModuleType, root: logging.Logger) -> None:
    root.addHandler(logging.StreamHandler(io.StringIO()))
    logging.getLogger(NAME).setLevel(logging.ERROR)
    app = make_app(f)
    app.debug = True
    assert app.logger.level == logging.ERROR
    assert app.logger.handlers == []


@both_packages
def test_loggers_may_be_configured_before(f: types.ModuleType) -> None:
    stream = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"short": {"format": "%(levelname)s: %(message)s"}},
            "handlers": {
                "stream": {
                    "class": "logging.StreamHandler",
                    "stream": stream,
                    "formatter": "short",
                },
                "errors": {
                    "class": "logging.StreamHandler",
                    "stream": f"ext://{f.__name__}.logging.wsgi_errors_stream",
                    "formatter": "short",
                    "level": "CRITICAL",
                },
            },
            "loggers": {NAME: {"level": "INFO", "handlers": ["stream", "errors"]}},
        }
    )
    app = make_app(f)
    app.logger.info("hello")
    assert stream.getvalue() == "INFO: hello\n"
    assert f.logging.default_handler not in app.logger.handlers


@both_packages
def test_a_handler_counts_if_it_takes_the_loggers_level(
    f: types.ModuleType, root: logging.Logger
) -> None:
    has_handler = f.logging.has_level_handler
    logger = logging.getLogger(NAME)
    assert not has_handler(logger)
    handler = logging.StreamHandler()
    root.addHandler(handler)
    assert has_handler(logger)
    handler.setLevel(logging.ERROR)
    assert not has_handler(logger)
    handler.setLevel(logging.NOTSET)
    logger.propagate = False
    assert not has_handler(logger)


@both_packages
def test_lines_are_formatted_and_go_to_stderr(
    f: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app(f).logger.error("said")
    line = capsys.readouterr().err
    assert line.startswith("[20")
    assert line.endswith("] ERROR in test_logging: said\n")


@each_colour
def test_lines_of_a_request_go_to_the_servers_stream(app: Flask, asynchronous: bool) -> None:
    async def view_async() -> str:
        return view()

    def view() -> str:
        app.logger.error("said %s", request.path)
        return "ok"

    app.get("/path")(view_async if asynchronous else view)
    stream = io.StringIO()
    for transport in ("wsgi", "asgi"):
        app.test_client(transport=transport).get("/path", errors_stream=stream)
    assert stream.getvalue().count("ERROR in test_logging: said /path\n") == 2


def test_outside_of_a_request_the_stream_is_stderr() -> None:
    assert wsgi_errors_stream._get_current_object() is sys.stderr  # type: ignore[attr-defined]
    assert default_handler.stream is wsgi_errors_stream


# -- what is logged of a request ----------------------------------------------------------------

Setup = t.Callable[[types.ModuleType, t.Any], t.Any]


def fail(*args: t.Any) -> t.NoReturn:
    raise LookupError("lost")


SCENARIOS: dict[str, Setup] = {
    "all is well": lambda f, app: None,
    "an error": lambda f, app: app.get("/fail")(fail),
    "a handled error": lambda f, app: (
        app.get("/fail")(fail),
        app.register_error_handler(LookupError, lambda error: "handled"),
    ),
    "an error handled as 500": lambda f, app: (
        app.get("/fail")(fail),
        app.register_error_handler(500, lambda error: "handled"),
    ),
    "an aborted request": lambda f, app: app.get("/fail")(lambda: f.abort(500)),
    "a handler that fails": lambda f, app: (
        app.get("/fail")(fail),
        app.register_error_handler(LookupError, lambda error: 1 / 0),
    ),
    "a hook before that fails": lambda f, app: app.before_request(fail),
    "a hook after that fails": lambda f, app: app.after_request(fail),
    "an error that is propagated": lambda f, app: (
        app.get("/fail")(fail),
        app.config.update(PROPAGATE_EXCEPTIONS=True),
    ),
    "no response": lambda f, app: app.get("/fail")(lambda: None),
}


def log_of(f: types.ModuleType, setup: Setup, **client_args: t.Any) -> t.Any:
    app = make_app(f)
    setup(f, app)
    records = Records(app.logger)
    try:
        client = app.test_client(**client_args)
        for path, method in (("/fail", "GET"), ("/missing", "POST")):
            try:
                client.open(path, method=method)
            except LookupError:
                continue
    finally:
        app.logger.removeHandler(records)
    return records.lines


@each_transport
@pytest.mark.parametrize("name", SCENARIOS)
def test_requests_are_logged_as_by_flask(name: str, transport: str) -> None:
    expected = log_of(flask, SCENARIOS[name])
    assert log_of(asyncflask, SCENARIOS[name], transport=transport) == expected


@each_transport
@each_colour
@pytest.mark.case("A34")
def test_an_error_is_logged_once_with_its_traceback(
    app: Flask, asynchronous: bool, transport: str
) -> None:
    async def fail_async() -> t.NoReturn:
        fail()

    app.get("/path")(fail_async if asynchronous else fail)
    records = Records(app.logger)
    assert app.test_client(transport=transport).get("/path").status_code == 500
    assert records.lines == [("ERROR", "Exception on /path [GET]", LookupError)]
    text = logging.Formatter().format(records.records[0])
    assert "in fail\n" in text and text.endswith("LookupError: lost")


@each_transport
@pytest.mark.parametrize("hook", ["teardown_request", "teardown_appcontext"])
def test_a_failing_teardown_is_logged_once(app: Flask, hook: str, transport: str) -> None:
    getattr(app, hook)(fail)
    records = Records(app.logger)
    assert app.test_client(transport=transport).get("/").status_code == 404
    assert [(level, error) for level, _, error in records.lines] == [("ERROR", LookupError)]


@each_transport
@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/%1b[31m%0aFAKE%0d", "/\\x1b[31m\\nFAKE\\r"),
        ("/%C3%BC", "/\\xfc"),
        ("/%E2%80%A8", "/\\u2028"),
        ("/%5c", "/\\\\"),
    ],
)
@pytest.mark.case("A34")
def test_no_path_forges_a_line_of_the_log(
    app: Flask, path: str, logged: str, transport: str
) -> None:
    app.before_request(fail)
    records = Records(app.logger)
    app.test_client(transport=transport).get(path)
    assert records.lines == [("ERROR", f"Exception on {logged} [GET]", LookupError)]


@pytest.mark.case("A34")
def test_a_path_with_percent_signs_is_logged_as_it_is(app: Flask) -> None:
    app.before_request(fail)
    records = Records(app.logger)
    app.test_client().get("/100%25s")
    assert records.lines[0][1] == "Exception on /100%s [GET]"


@each_transport
def test_a_method_may_be_overridden_to_log_elsewhere(transport: str) -> None:
    logged: list[t.Any] = []

    class Own(Flask):
        def log_exception(self, exc_info: t.Any) -> None:
            logged.append((exc_info[0], request.path))

    app = Own(NAME, root_path=".", static_folder=None)
    app.get("/path")(fail)
    assert app.test_client(transport=transport).get("/path").status_code == 500
    assert logged == [(LookupError, "/path")]


@each_transport
def test_handlers_of_a_record_see_the_request(app: Flask, transport: str) -> None:
    class RequestFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            record.url = request.url if asyncflask.has_request_context() else None
            return super().format(record)

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RequestFormatter("%(url)s %(message)s"))
    app.logger.addHandler(handler)

    @app.get("/path")
    async def view() -> str:
        app.logger.warning("said")
        return "ok"

    app.test_client(transport=transport).get("/path")
    app.logger.warning("said")
    assert stream.getvalue() == "http://localhost/path said\nNone said\n"
