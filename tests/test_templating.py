"""Templates: where they are looked for, what they know, rendering and streaming, sync and async."""

from __future__ import annotations

import logging
import threading
import typing as t

import jinja2
import pytest
from jinja2 import DictLoader
from jinja2 import TemplateNotFound
from jinja2.ext import Extension
from jinja2.nodes import Const
from jinja2.nodes import Output

from asyncflask import before_render_template
from asyncflask import Blueprint
from asyncflask import Flask
from asyncflask import g
from asyncflask import render_template
from asyncflask import render_template_string
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import stream_template
from asyncflask import stream_template_string
from asyncflask import template_rendered
from asyncflask.templating import _default_template_ctx_processor
from asyncflask.templating import create_async_environment
from asyncflask.templating import DispatchingJinjaLoader
from asyncflask.templating import Environment
from asyncflask.templating import render_template_async
from asyncflask.templating import render_template_string_async
from asyncflask.templating import stream_template_async
from asyncflask.templating import stream_template_string_async

SHARED = "{{ injected }}"


def make_app(templates: dict[str, str] | None = None, **config: t.Any) -> Flask:
    """Make an application, and a blueprint whose template folder comes second."""
    app = Flask(__name__)
    app.secret_key = "key"
    app.config.update(config)
    app.jinja_loader = DictLoader({"app.html": "app", "shared.html": "of app", **(templates or {})})
    bp = Blueprint("bp", __name__, url_prefix="/bp")
    bp.jinja_loader = DictLoader({"bp.html": "bp", "shared.html": "of bp"})
    bp.context_processor(lambda: {"injected": "blueprint"})
    bp.add_url_rule("/", "view", lambda: render_template_string(SHARED))
    app.register_blueprint(bp)
    app.add_url_rule("/", "view", lambda: render_template_string(SHARED))
    return app


# -- globals ---------------------------------------------------------------------------------

FILES = {
    "page": "{% import 'tools' as plain %}{% import 'tools' as tools with context %}"
    "{% from 'tools' import show %}{% include 'part' %}{% set own = 1 %}"
    "{{ plain.show() }}|{{ tools.show() }}|{{ show() }}|{{ own }}|{{ shared }}|{{ range(2)|list }}",
    "tools": "{% macro show() %}{{ shared }}-{{ passed }}-{{ late }}-{{ mine }}{% endmacro %}",
    "part": "{{ shared }}/{{ passed }}/{{ late }}/{{ mine }} ",
}


def environments() -> tuple[Environment, jinja2.Environment]:
    """Give an application's environment and one of Jinja's, alike in what templates see."""
    ours = Environment(make_app(), loader=DictLoader(FILES))
    reference = jinja2.Environment(loader=DictLoader(FILES))
    for each in (ours, reference):
        each.globals.update(shared="environment", range=range)
    return ours, reference


@pytest.mark.parametrize("given", [None, {}, {"mine": 1}, {"shared": "template", "mine": 2}])
@pytest.mark.parametrize("passed", [{}, {"passed": 3}, {"shared": "passed", "mine": "passed"}])
def test_templates_see_the_globals_that_jinja_shows_them(
    given: dict[str, t.Any] | None, passed: dict[str, t.Any]
) -> None:
    pairs = [(each, each.get_template("page", globals=given)) for each in environments()]
    for late in (None, "late", "later"):
        seen = []
        for env, template in pairs:
            if late is not None:
                env.globals["late"] = late
                template.globals["mine"] = late
            context = template.new_context(dict(passed))
            shared = template.new_context(dict(passed), shared=True, locals={"a": 1})
            seen.append(
                (
                    list(context.parent.items()),
                    context.globals_keys,
                    shared.parent,
                    shared.globals_keys,
                    template.render(passed),
                    template.make_module(passed).own,  # type: ignore[attr-defined]
                )
            )
        assert seen[0] == seen[1]


def test_the_async_environment_has_the_templates_of_the_other() -> None:
    class Own(jinja2.Template):
        pass

    app = make_app()
    app.jinja_env.template_class = Own
    assert type(create_async_environment(app).from_string("")) is Own


# -- where templates are looked for ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"), [("app.html", "app"), ("bp.html", "bp"), ("shared.html", "of app")]
)
def test_the_application_comes_before_its_blueprints(name: str, text: str) -> None:
    with make_app().app_context():
        assert render_template(name) == text


def test_the_first_template_that_exists_is_rendered() -> None:
    app = make_app()
    with app.app_context():
        assert render_template(["nowhere.html", "bp.html", "app.html"]) == "bp"
        assert render_template([app.jinja_env.get_template("app.html"), "bp.html"]) == "app"
        assert render_template(app.jinja_env.from_string("{{ x }}"), x=1) == "1"


def test_a_template_nobody_has_is_not_found() -> None:
    with make_app().app_context(), pytest.raises(TemplateNotFound, match="nowhere.html"):
        render_template("nowhere.html")


def test_the_loader_lists_every_name_once() -> None:
    loader = make_app().jinja_env.loader
    assert isinstance(loader, DispatchingJinjaLoader)
    assert sorted(loader.list_templates()) == ["app.html", "bp.html", "shared.html"]


def test_a_loader_passed_as_option_is_used() -> None:
    app = make_app()
    loader = DictLoader({"own.html": "own"})
    environment = Environment(app, loader=loader)
    assert (environment.app, environment.loader) == (app, loader)
    assert environment.get_template("own.html").render() == "own"
    assert isinstance(Environment(app).loader, DispatchingJinjaLoader)


@pytest.mark.parametrize("name", ["shared.html", "nowhere.html"])
def test_the_search_can_be_explained(name: str, caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(EXPLAIN_TEMPLATE_LOADING=True)
    caplog.set_level(logging.INFO, app.logger.name)
    with app.app_context():
        if name == "shared.html":
            assert render_template(name) == "of app"
        else:
            pytest.raises(TemplateNotFound, render_template, name)
    assert f"1: trying loader of application {app.import_name!r}" in caplog.text
    assert "2: trying loader of blueprint 'bp'" in caplog.text
    assert ("could not be found" in caplog.text) is (name == "nowhere.html")


# -- what templates know ---------------------------------------------------------------------


def test_a_template_knows_the_request_the_session_and_g() -> None:
    app = make_app()

    @app.get("/known")
    def known() -> str:
        g.a, session["b"] = 1, 2
        source = "{{ g.a }} {{ session.b }} {{ request.args.c }} {{ config.TESTING }}"
        return render_template_string(source + " {{ url_for('known') }}")

    assert app.test_client().get("/known?c=3").text == "1 2 3 False /known"


def test_proxies_are_replaced_except_for_the_session() -> None:
    app = make_app()
    assert _default_template_ctx_processor() == {}
    with app.app_context() as app_ctx:
        assert _default_template_ctx_processor() == {"g": app_ctx.g}
    with app.test_request_context() as ctx:
        values = _default_template_ctx_processor()
        assert values["request"] is ctx.request
        assert set(values) == {"g", "request"}


def test_strings_and_markup_files_are_escaped() -> None:
    app = make_app({"x.html": "{{ x }}", "x.txt": "{{ x }}", "x.svg": "{{ x }}"})
    with app.app_context():
        texts = [render_template(name, x="<") for name in ("x.html", "x.svg", "x.txt")]
        assert texts == ["&lt;", "&lt;", "<"]
        assert render_template_string("{{ x }}", x="<") == "&lt;"


def test_processors_of_a_blueprint_serve_its_own_views() -> None:
    app = make_app()
    app.context_processor(lambda: {"injected": "application"})
    client = app.test_client()
    assert client.get("/").text == "application"
    assert client.get("/bp/").text == "blueprint"


def test_processors_of_an_inner_blueprint_come_last() -> None:
    app = Flask(__name__)
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    app.context_processor(lambda: {"a": "app", "b": "app", "c": "app"})
    outer.context_processor(lambda: {"b": "outer", "c": "outer"})
    inner.context_processor(lambda: {"c": "inner"})
    inner.add_url_rule("/", "view", lambda: render_template_string("{{ a }} {{ b }} {{ c }}"))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    assert app.test_client().get("/").text == "app outer inner"


def test_what_is_passed_wins_over_processors() -> None:
    app = make_app()
    app.context_processor(lambda: {"injected": "application", "other": "too"})
    context = {"injected": "passed"}
    with app.app_context():
        app.update_template_context(context)
        assert (context["injected"], context["other"]) == ("passed", "too")
        assert render_template_string(SHARED, injected="passed") == "passed"


def test_rendering_needs_an_application() -> None:
    for render in (render_template, render_template_string, stream_template):
        with pytest.raises(RuntimeError, match="outside of application context"):
            render("app.html")


# -- signals and streams ---------------------------------------------------------------------


class Recorder:
    """Notes the signals of an application's templates."""

    def __init__(self, app: Flask) -> None:
        self.seen: list[tuple[str, str | None, t.Any]] = []
        self.threads: set[int] = set()
        before_render_template.connect(self.before, app)
        template_rendered.connect(self.after, app)

    def before(self, sender: Flask, template: t.Any, context: dict[str, t.Any]) -> None:
        self.note("before", template, context)

    def after(self, sender: Flask, template: t.Any, context: dict[str, t.Any]) -> None:
        self.note("after", template, context)

    def note(self, when: str, template: t.Any, context: dict[str, t.Any]) -> None:
        self.threads.add(threading.get_ident())
        self.seen.append((when, template.name, context.get("x")))


def test_signals_frame_the_rendering() -> None:
    app = make_app()
    recorder = Recorder(app)
    with app.app_context():
        render_template("app.html", x=1)
        render_template_string("{{ x }}", x=2)
    expected = [("before", "app.html", 1), ("after", "app.html", 1)]
    assert recorder.seen == [*expected, ("before", None, 2), ("after", None, 2)]


def test_a_stream_is_rendered_while_it_is_read() -> None:
    app = make_app({"loop.html": "{% for i in items() %}{{ i }}{% endfor %}"})
    recorder = Recorder(app)
    taken: list[int] = []

    def items() -> t.Iterator[int]:
        for i in range(3):
            taken.append(i)
            yield i

    with app.app_context():
        stream = stream_template("loop.html", items=items)
        assert [when for when, _, _ in recorder.seen] == ["before"]
        assert next(stream) == "0" and taken == [0]
        assert list(stream) == ["1", "2"]
    assert [when for when, _, _ in recorder.seen] == ["before", "after"]


def test_a_streamed_template_keeps_the_request() -> None:
    app = make_app({"name.html": "Hello {{ request.args.name }}{{ session.x }}!"})

    @app.get("/stream")
    def stream() -> t.Iterator[str]:
        return stream_template("name.html")

    @app.get("/string")
    def string() -> t.Iterator[str]:
        return stream_template_string("Hello {{ request.args.name }}!")

    client = app.test_client()
    assert client.get("/stream?name=Ada").text == "Hello Ada!"
    assert client.get("/string?name=Ada").text == "Hello Ada!"


# -- async processors, sync rendering --------------------------------------------------------


async def async_processor() -> dict[str, t.Any]:
    return {"injected": "awaited"}


def test_a_sync_view_renders_with_async_processors() -> None:
    app = make_app()
    app.context_processor(async_processor)
    client = app.test_client()
    assert client.get("/").text == "awaited"
    with app.app_context():
        assert render_template_string(SHARED) == "awaited"


async def test_on_the_loop_an_async_processor_needs_async_rendering() -> None:
    app = make_app()
    app.context_processor(async_processor)
    async with app.app_context():
        with pytest.raises(RuntimeError, match=r"async_processor.*render_template_async") as info:
            render_template_string(SHARED)
        assert isinstance(info.value.__cause__, RuntimeError)
        assert await render_template_string_async(SHARED) == "awaited"


@pytest.mark.parametrize("is_async", [True, False])
def test_a_processors_own_error_is_left_alone(is_async: bool) -> None:
    app = make_app()

    async def failing_async() -> dict[str, t.Any]:
        raise RuntimeError("own")

    def failing() -> dict[str, t.Any]:
        raise RuntimeError("own")

    app.context_processor(failing_async if is_async else failing)
    with app.app_context(), pytest.raises(RuntimeError, match="^own$"):
        render_template_string(SHARED)


def test_a_sync_processor_may_return_an_awaitable() -> None:
    app = make_app()
    app.context_processor(lambda: async_processor())
    with app.app_context():
        assert render_template_string(SHARED) == "awaited"


def test_an_environment_made_async_renders_in_sync_code() -> None:
    app = make_app({"async.html": "{{ value() }}"})
    app.jinja_options = {"enable_async": True}

    async def value() -> str:
        return "awaited"

    with app.app_context():
        assert render_template("async.html", value=value) == "awaited"
        assert "".join(stream_template("async.html", value=value)) == "awaited"
    assert create_async_environment(app) is app.jinja_env


# -- async rendering -------------------------------------------------------------------------


async def test_async_rendering_awaits_what_a_template_calls() -> None:
    app = make_app({"calls.html": "{{ hello(name) }} {{ name|shout }} {{ injected }}"})
    app.context_processor(async_processor)

    @app.template_filter()
    async def shout(value: str) -> str:
        return value.upper()

    async def hello(name: str) -> str:
        return f"hello {name}"

    app.jinja_env.globals["hello"] = hello
    async with app.app_context():
        assert await render_template_async("calls.html", name="ada") == "hello ada ADA awaited"


async def test_async_rendering_takes_what_sync_rendering_takes() -> None:
    app = make_app()
    async with app.app_context():
        assert await render_template_async("bp.html") == "bp"
        assert await render_template_async(["nowhere.html", "app.html"]) == "app"
        assert await render_template_async(app.jinja_env.get_template("app.html")) == "app"
        assert await render_template_string_async("{{ x }}", x="<") == "&lt;"
        with pytest.raises(TemplateNotFound):
            await render_template_async("nowhere.html")


def test_async_views_render_either_way() -> None:
    app = make_app({"name.html": "{{ request.args.name }} {{ session.x }}"})

    @app.get("/async")
    async def async_call() -> str:
        session["x"] = 1
        return await render_template_async("name.html")

    @app.get("/sync")
    async def sync_call() -> str:
        return render_template("name.html")

    client = app.test_client()
    assert client.get("/async?name=ada").text == "ada 1"
    response = client.get("/sync?name=ada")
    assert (response.text, response.headers["Vary"]) == ("ada 1", "Cookie")


async def test_async_rendering_calls_sync_code_on_a_thread() -> None:
    app = make_app()
    recorder = Recorder(app)
    threads: list[int] = []

    def note() -> dict[str, t.Any]:
        threads.append(threading.get_ident())
        return {"order": len(threads), "injected": "sync"}

    for processor in (note, async_processor, note):
        app.context_processor(processor)
    async with app.app_context():
        assert await render_template_string_async("{{ order }} {{ injected }}") == "2 sync"
    assert threading.get_ident() not in {*threads, *recorder.threads}
    assert [when for when, _, _ in recorder.seen] == ["before", "after"]


async def test_async_rendering_awaits_async_receivers() -> None:
    app = make_app()
    seen = []

    async def receive(sender: Flask, template: t.Any, context: dict[str, t.Any]) -> None:
        seen.append(context["x"])

    with template_rendered.connected_to(receive, app):
        async with app.app_context():
            await render_template_string_async("", x=1)
    assert seen == [1]


@pytest.mark.parametrize("is_async", [True, False])
async def test_async_rendering_respects_an_override(is_async: bool) -> None:
    class Sync(Flask):
        def update_template_context(self, context: dict[str, t.Any]) -> None:
            super().update_template_context(context)
            context["injected"] = threading.get_ident()

    class Async(Flask):
        async def update_template_context(  # type: ignore[override]
            self, context: dict[str, t.Any]
        ) -> None:
            context["injected"] = threading.get_ident()

    app = (Async if is_async else Sync)(__name__)
    async with app.app_context():
        thread = int(await render_template_string_async(SHARED))
    assert (thread == threading.get_ident()) is is_async


async def test_an_async_stream_is_rendered_while_it_is_read() -> None:
    app = make_app({"loop.html": "{% for i in items() %}{{ i }}{% endfor %}"})
    recorder = Recorder(app)
    taken: list[int] = []

    async def items() -> t.AsyncIterator[int]:
        for i in range(3):
            taken.append(i)
            yield i

    async with app.app_context():
        stream = await stream_template_async("loop.html", items=items)
        assert [when for when, _, _ in recorder.seen] == ["before"]
        assert await anext(stream) == "0" and taken == [0]
        assert [piece async for piece in stream] == ["1", "2"]
    assert [when for when, _, _ in recorder.seen] == ["before", "after"]


@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_an_async_stream_keeps_the_request(transport: str) -> None:
    app = make_app({"name.html": "Hello {{ request.args.name }}{{ g.torn }}!"})
    app.teardown_request(lambda exc: setattr(g, "torn", "too late"))

    @app.get("/stream")
    async def stream() -> t.AsyncIterator[str]:
        return await stream_template_async("name.html")

    @app.get("/string")
    async def string() -> Response:
        pieces = await stream_template_string_async("Hello {{ request.args.name }}!")
        return Response(pieces)

    client = app.test_client(transport=transport)
    assert client.get("/stream?name=Ada").text == "Hello Ada!"
    assert client.get("/string?name=Ada").text == "Hello Ada!"


async def test_a_closed_async_stream_closes_what_it_reads() -> None:
    app = make_app({"loop.html": "{% for i in items %}{{ i }}{% endfor %}"})
    closed = []

    async def items() -> t.AsyncIterator[int]:
        try:
            for i in range(9):
                yield i
        finally:
            closed.append(True)

    source = items()
    async with app.test_request_context():
        stream = await stream_template_async("loop.html", items=source)
        assert await anext(stream) == "0"
        await t.cast("t.AsyncGenerator[str, None]", stream).aclose()
        await source.aclose()
        assert closed == [True]
        assert [piece async for piece in stream] == []
        assert request.path == "/"


# -- the async environment -------------------------------------------------------------------


def test_the_async_environment_is_made_once() -> None:
    app = make_app()
    assert "jinja_env_async" not in vars(app)
    twin = app.jinja_env_async
    assert app.jinja_env_async is twin
    assert isinstance(twin, Environment)
    assert (twin.is_async, app.jinja_env.is_async) == (True, False)


async def test_the_async_environment_follows_the_sync_one() -> None:
    app = make_app()
    twin, env = app.jinja_env_async, app.jinja_env
    assert (twin.filters, twin.tests, twin.globals) == (env.filters, env.tests, env.globals)
    env.filters["late"] = lambda value: f"late {value}"
    env.globals = {**env.globals, "replaced": "yes"}
    env.undefined = jinja2.StrictUndefined
    env.loader = DictLoader({"new.html": "new"})
    async with app.app_context():
        text = await render_template_string_async("{{ 1|late }} {{ replaced }}")
        assert text == "late 1 yes"
        assert await render_template_async("new.html") == "new"
        with pytest.raises(jinja2.UndefinedError):
            await render_template_string_async("{{ nobody }}")
    assert twin.app is app


class Stamp(Extension):
    tags = {"stamp"}

    def parse(self, parser: t.Any) -> t.Any:
        lineno = next(parser.stream).lineno
        return Output([Const(f"async {self.environment.is_async}")], lineno=lineno)


@pytest.mark.parametrize("through_twin", [True, False])
async def test_extensions_added_late_work_in_both_environments(through_twin: bool) -> None:
    app = make_app()
    assert app.jinja_env_async.extensions == {}
    (app.jinja_env_async if through_twin else app.jinja_env).add_extension(Stamp)
    async with app.app_context():
        assert render_template_string("{% stamp %}") == "async False"
        assert await render_template_string_async("{% stamp %}") == "async True"
    assert app.jinja_env_async.overlay(trim_blocks=True).from_string("{% stamp %}")


async def test_compiled_templates_are_not_mixed_up() -> None:
    class Memory(jinja2.BytecodeCache):
        def __init__(self) -> None:
            self.kept: dict[str, bytes] = {}

        def load_bytecode(self, bucket: t.Any) -> None:
            if bucket.key in self.kept:
                bucket.bytecode_from_string(self.kept[bucket.key])

        def dump_bytecode(self, bucket: t.Any) -> None:
            self.kept[bucket.key] = bucket.bytecode_to_string()

    app = make_app()
    app.jinja_options = {"bytecode_cache": Memory()}
    async with app.app_context():
        for _ in range(2):
            assert render_template("app.html") == "app"
            assert await render_template_async("app.html") == "app"


async def test_a_custom_environment_has_an_async_twin() -> None:
    class Custom(Environment):
        @property
        def shouted(self) -> str:
            return str(self.app.import_name).upper()

        def join_path(self, template: str, parent: str) -> str:
            return template.removeprefix("./")

    class CustomApp(Flask):
        jinja_environment = Custom

    app = CustomApp(__name__)
    app.jinja_loader = DictLoader({"a.html": "{% include './b.html' %}", "b.html": "b"})
    twin = app.jinja_env_async
    assert isinstance(twin, Custom) and twin.shouted == __name__.upper()
    async with app.app_context():
        assert await render_template_async("a.html") == "b"
