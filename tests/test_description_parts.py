"""The description of the framework: its chapters on blueprints, signals and errors."""

from __future__ import annotations

import typing as t
from contextlib import contextmanager
from pathlib import Path

import pytest
import werkzeug.exceptions
from jinja2 import TemplateNotFound

from asyncflask import abort
from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import got_request_exception
from asyncflask import jsonify
from asyncflask import render_template
from asyncflask import request
from asyncflask import signals
from asyncflask import template_rendered
from asyncflask import url_for


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return Flask(__name__, root_path=str(tmp_path))


@pytest.fixture(params=["wsgi", "asgi"])
def client(app: Flask, request: pytest.FixtureRequest) -> t.Any:
    return app.test_client(transport=request.param)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# -- blueprints -----------------------------------------------------------------------------------


def make_simple_page(root: Path) -> Blueprint:
    simple_page = Blueprint(
        "simple_page", __name__, template_folder="templates", root_path=str(root)
    )

    @simple_page.route("/", defaults={"page": "index"})
    @simple_page.route("/<page>")
    def show(page: str) -> str:
        try:
            return render_template(f"pages/{page}.html")
        except TemplateNotFound:
            abort(404)

    return simple_page


def test_the_simple_page_example(app: Flask, client: t.Any, tmp_path: Path) -> None:
    write(tmp_path / "bp/templates/pages", {"index.html": "the index", "about.html": "about"})
    app.register_blueprint(make_simple_page(tmp_path / "bp"))
    assert client.get("/").text == "the index"
    assert client.get("/about").text == "about"
    assert client.get("/missing").status_code == 404
    assert client.get("/index").location.endswith("/")
    with app.test_request_context():
        assert url_for("simple_page.show") == "/"
        assert url_for("simple_page.show", page="about") == "/about"


def test_a_blueprint_is_registered_below_a_prefix_and_more_than_once(
    app: Flask, client: t.Any, tmp_path: Path
) -> None:
    write(tmp_path / "bp/templates/pages", {"index.html": "{{ request.blueprint }}"})
    simple_page = make_simple_page(tmp_path / "bp")
    app.register_blueprint(simple_page, url_prefix="/pages")
    app.register_blueprint(simple_page, url_prefix="/again", name="again")
    with pytest.raises(ValueError, match="already registered"):
        app.register_blueprint(simple_page, url_prefix="/third")
    assert client.get("/pages/").text == "simple_page"
    assert client.get("/again/").text == "again"
    assert client.get("/").status_code == 404
    with app.test_request_context():
        assert url_for("again.show", page="x") == "/again/x"


def test_a_blueprint_may_have_a_subdomain(tmp_path: Path) -> None:
    app = Flask(__name__, root_path=str(tmp_path), subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.test"
    bp = Blueprint("bp", __name__, subdomain="api")
    bp.get("/")(lambda: "api")
    app.register_blueprint(bp)
    for transport in ("wsgi", "asgi"):
        client = app.test_client(transport=transport)
        assert client.get("/", base_url="http://api.example.test").text == "api"
        assert client.get("/", base_url="http://example.test").status_code == 404


def test_nested_blueprints(app: Flask, client: t.Any) -> None:
    parent = Blueprint("parent", __name__, url_prefix="/parent")
    child = Blueprint("child", __name__, url_prefix="/child")
    child.get("/create", endpoint="create")(lambda: url_for(".create"))
    parent.register_blueprint(child)
    app.register_blueprint(parent)
    with app.test_request_context():
        assert url_for("parent.child.create") == "/parent/child/create"
    assert client.get("/parent/child/create").text == "/parent/child/create"


def test_the_resources_of_a_blueprint(app: Flask, client: t.Any, tmp_path: Path) -> None:
    write(
        tmp_path / "admin",
        {
            "assets/style.css": "admin css",
            "templates/admin/index.html": "admin index",
            "templates/shared.html": "of the blueprint",
            "data.txt": "resource",
        },
    )
    write(tmp_path / "templates", {"shared.html": "of the application"})
    admin = Blueprint(
        "admin",
        __name__,
        static_folder="assets",
        template_folder="templates",
        url_prefix="/admin",
        root_path=str(tmp_path / "admin"),
    )
    admin.get("/<path:name>", endpoint="show")(lambda name: render_template(name))
    app.register_blueprint(admin)
    assert admin.root_path == str(tmp_path / "admin")
    with admin.open_resource("data.txt", "r") as file:
        assert file.read() == "resource"
    with app.test_request_context():
        assert url_for("admin.static", filename="style.css") == "/admin/assets/style.css"
    with client.get("/admin/assets/style.css") as response:
        assert response.text == "admin css"
    assert client.get("/admin/admin/index.html").text == "admin index"
    assert client.get("/admin/shared.html").text == "of the application"


def test_the_folder_of_a_blueprint_comes_from_its_import_name() -> None:
    assert Blueprint("bp", __name__).root_path == str(Path(__file__).parent)
    assert Blueprint("bp", "asyncflask.json").root_path.endswith("json")


def test_a_blueprint_gives_filters_and_variables_to_templates(app: Flask, client: t.Any) -> None:
    app.jinja_env.from_string("")
    bp = Blueprint("bp", __name__)
    bp.app_template_filter("reverse_words")(lambda text: " ".join(reversed(text.split())))
    bp.app_context_processor(lambda: {"word": "a b"})
    app.register_blueprint(bp)

    @app.get("/")
    def view() -> str:
        context: dict[str, t.Any] = {}
        app.update_template_context(context)
        return app.jinja_env.from_string("{{ word|reverse_words }}").render(context)

    assert client.get("/").text == "b a"


def test_error_handlers_of_a_blueprint_serve_its_own_views(app: Flask, client: t.Any) -> None:
    bp = Blueprint("bp", __name__, url_prefix="/bp")
    bp.get("/", endpoint="view")(lambda: abort(404))
    bp.errorhandler(404)(lambda error: ("of the blueprint", 404))
    bp.errorhandler(405)(lambda error: ("of the blueprint", 405))
    app.register_blueprint(bp)
    assert client.get("/bp/").text == "of the blueprint"
    # An URL that matches nothing belongs to no blueprint; a method that does not match either.
    assert "of the blueprint" not in client.get("/bp/missing").text
    response = client.post("/bp/")
    assert response.status_code == 405
    assert "of the blueprint" not in response.text


def test_api_errors_are_handled_by_path_on_the_application(app: Flask, client: t.Any) -> None:
    @app.errorhandler(404)
    @app.errorhandler(405)
    def _handle_api_error(ex: t.Any) -> t.Any:
        if request.path.startswith("/api/"):
            return jsonify(error=str(ex)), ex.code
        return ex

    app.get("/api/get")(lambda: "ok")
    assert client.get("/api/missing").json["error"].startswith("404 Not Found")
    response = client.post("/api/get")
    assert (response.status_code, response.json["error"][:3]) == (405, "405")
    response = client.get("/missing")
    assert (response.status_code, response.mimetype) == (404, "text/html")


def test_a_registered_blueprint_takes_nothing_more(app: Flask) -> None:
    bp = Blueprint("bp", __name__)
    app.register_blueprint(bp)
    with pytest.raises(AssertionError, match="registered"):
        bp.get("/late")(lambda: "late")


# -- signals --------------------------------------------------------------------------------------


@pytest.fixture
def with_index(app: Flask, tmp_path: Path) -> Flask:
    write(tmp_path, {"templates/index.html": "{{ items|length }}"})
    app.get("/", endpoint="index")(lambda: render_template("index.html", items=list(range(10))))
    return app


def check_recorded(client: t.Any, templates: list[t.Any]) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert len(templates) == 1
    template, context = templates[0]
    assert template.name == "index.html"
    assert len(context["items"]) == 10


def test_templates_are_captured_by_connect_and_disconnect(with_index: Flask, client: t.Any) -> None:
    @contextmanager
    def captured_templates(app: Flask) -> t.Iterator[list[t.Any]]:
        recorded: list[t.Any] = []

        def record(sender: Flask, template: t.Any, context: t.Any, **extra: t.Any) -> None:
            recorded.append((template, context))

        template_rendered.connect(record, app)
        try:
            yield recorded
        finally:
            template_rendered.disconnect(record, app)

    with captured_templates(with_index) as templates:
        check_recorded(client, templates)
    client.get("/")
    assert len(templates) == 1


def test_templates_are_captured_by_connected_to(with_index: Flask, client: t.Any) -> None:
    templates: list[t.Any] = []

    def captured_templates(app: Flask, recorded: list[t.Any], **extra: t.Any) -> t.Any:
        def record(sender: Flask, template: t.Any, context: t.Any) -> None:
            recorded.append((template, context))

        return template_rendered.connected_to(record, app)

    with captured_templates(with_index, templates):
        check_recorded(client, templates)
    client.get("/")
    assert len(templates) == 1


def test_a_receiver_is_connected_by_a_decorator(with_index: Flask, client: t.Any) -> None:
    templates: list[t.Any] = []

    @template_rendered.connect_via(with_index)
    def when_template_rendered(
        sender: Flask, template: t.Any, context: t.Any, **extra: t.Any
    ) -> None:
        templates.append((template, context))

    check_recorded(client, templates)
    other = Flask("other", static_folder=None)
    with other.app_context():
        template_rendered.send(other, template=None, context={})
    assert len(templates) == 1


def test_signals_of_ones_own(app: Flask, client: t.Any) -> None:
    my_signals = signals.Namespace()
    model_saved = my_signals.signal("model-saved")
    assert model_saved.name == "model-saved"
    saved: list[t.Any] = []

    class Model:
        def save(self) -> None:
            model_saved.send(self)

    def remember(sender: t.Any) -> None:
        saved.append(sender)

    model = Model()
    model_saved.connect(remember)
    model.save()
    assert saved == [model]
    app.get("/")(lambda: str(bool(model_saved.send(current_app._get_current_object()))))  # type: ignore[attr-defined]
    with model_saved.connected_to(lambda sender: "heard", app):
        assert client.get("/").text == "True"
    assert saved == [model, app]


def test_an_error_tracker_hears_of_unhandled_errors(app: Flask, client: t.Any) -> None:
    # The way in which trackers hook into the framework.
    sent: list[t.Any] = []

    def capture(sender: Flask, exception: BaseException, **extra: t.Any) -> None:
        sent.append((request.path, type(exception)))

    app.get("/")(lambda: {}["missing"])
    with got_request_exception.connected_to(capture, app):
        assert client.get("/").status_code == 500
    assert sent == [("/", KeyError)]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [werkzeug.exceptions.BadRequest, 400])
@pytest.mark.parametrize("way", ["errorhandler", "register_error_handler"])
def test_handlers_are_registered_by_class_or_code(
    app: Flask, client: t.Any, by: t.Any, way: str
) -> None:
    def handle_bad_request(e: werkzeug.exceptions.BadRequest) -> tuple[str, int]:
        assert e.code == 400
        return "bad request!", 400

    if way == "errorhandler":
        app.errorhandler(by)(handle_bad_request)
    else:
        app.register_error_handler(by, handle_bad_request)
    app.get("/")(lambda: request.args["missing"])
    app.get("/abort", endpoint="abort")(lambda: abort(400))
    for path in ("/", "/abort"):
        response = client.get(path)
        assert (response.status_code, response.text) == (400, "bad request!")


class InsufficientStorage(werkzeug.exceptions.HTTPException):
    code = 507
    description = "Not enough storage space."


@pytest.mark.parametrize("handled", [False, True])
def test_codes_that_are_not_standard_are_registered_by_class(
    app: Flask, client: t.Any, handled: bool
) -> None:
    def handle_507(error: t.Any) -> tuple[str, int]:
        return f"handled: {error.description}", 507

    @app.route("/")
    def main() -> t.NoReturn:
        raise InsufficientStorage()

    with pytest.raises(ValueError, match="507"):
        app.register_error_handler(507, handle_507)
    if handled:
        app.register_error_handler(InsufficientStorage, handle_507)
    response = client.get("/")
    assert response.status_code == 507
    if handled:
        assert response.text == "handled: Not enough storage space."
    else:
        assert "<p>Not enough storage space.</p>" in response.text


def test_errors_without_handler_have_a_generic_page(app: Flask, client: t.Any) -> None:
    app.get("/")(lambda: {}["missing"])
    for path, method, status, name in (
        ("/missing", "GET", 404, "Not Found"),
        ("/", "POST", 405, "Method Not Allowed"),
        ("/", "GET", 500, "Internal Server Error"),
    ):
        response = client.open(path, method=method)
        assert (response.status_code, response.mimetype) == (status, "text/html")
        assert f"<h1>{name}</h1>" in response.text


def test_the_most_specific_handler_is_chosen(app: Flask, client: t.Any) -> None:
    errors = {
        "refused": ConnectionRefusedError,
        "reset": ConnectionResetError,
        "os": OSError,
        "gone": werkzeug.exceptions.Gone,
        "teapot": werkzeug.exceptions.ImATeapot,
    }

    @app.get("/<name>")
    def view(name: str) -> t.NoReturn:
        raise errors[name]()

    for kind in (ConnectionError, ConnectionRefusedError, werkzeug.exceptions.HTTPException, 410):
        name = kind if isinstance(kind, int) else kind.__name__
        app.register_error_handler(kind, lambda error, name=name: f"handler {name}")
    assert client.get("/refused").text == "handler ConnectionRefusedError"
    assert client.get("/reset").text == "handler ConnectionError"
    # A handler by code comes before those by class.
    assert client.get("/gone").text == "handler 410"
    assert client.get("/teapot").text == "handler HTTPException"
    # No handler of its own: a generic error 500, for which the one of HTTPException serves.
    assert client.get("/os").text == "handler HTTPException"


def test_handlers_of_the_blueprint_take_precedence(app: Flask, client: t.Any) -> None:
    bp = Blueprint("bp", __name__)
    app.errorhandler(ConnectionRefusedError)(lambda error: "application")
    bp.errorhandler(ConnectionError)(lambda error: "blueprint")

    def fail() -> t.NoReturn:
        raise ConnectionRefusedError()

    bp.get("/bp", endpoint="fail")(fail)
    app.get("/app", endpoint="fail")(fail)
    app.register_blueprint(bp)
    assert client.get("/bp").text == "blueprint"
    assert client.get("/app").text == "application"


@pytest.mark.parametrize("by", [500, werkzeug.exceptions.InternalServerError])
def test_the_handler_of_500_is_given_the_original_exception(
    app: Flask, client: t.Any, by: t.Any
) -> None:
    @app.errorhandler(by)
    def handle_500(e: werkzeug.exceptions.InternalServerError) -> tuple[str, int]:
        return f"{type(e).__name__} {type(e.original_exception).__name__}", 500

    app.get("/fail", endpoint="fail")(lambda: {}["missing"])
    app.get("/abort", endpoint="abort")(lambda: abort(500))
    assert client.get("/fail").text == "InternalServerError KeyError"
    assert client.get("/abort").text == "InternalServerError NoneType"
