"""The description of the framework, from its top to its bottom: each feature and each example."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from werkzeug.utils import secure_filename

import asyncflask
from asyncflask import abort
from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import flash
from asyncflask import Flask
from asyncflask import g
from asyncflask import has_app_context
from asyncflask import has_request_context
from asyncflask import jsonify
from asyncflask import make_response
from asyncflask import redirect
from asyncflask import render_template
from asyncflask import render_template_string
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import url_for
from tests.kit.server import Server

each_transport = pytest.mark.parametrize("transport", ["wsgi", "asgi"])
Client = t.Callable[..., t.Any]


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


# -- quickstart: the application, routing --------------------------------------------------------


def test_hello_world(app: Flask, client: t.Any) -> None:
    @app.route("/")
    def index() -> str:
        return "<p>Hello World</p>"

    response = client.get("/")
    assert response.text == "<p>Hello World</p>"
    assert response.content_type == "text/html; charset=utf-8"


def test_the_import_name_finds_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path,
        {
            "single.py": "from asyncflask import Flask\napp = Flask(__name__)\n",
            "templates/hello.html": "module",
            "package/__init__.py": "from asyncflask import Flask\napp = Flask(__name__)\n",
            "package/templates/hello.html": "package",
            "package/static/style.css": "css",
        },
    )
    monkeypatch.syspath_prepend(tmp_path)
    import package  # type: ignore[import-not-found]
    import single  # type: ignore[import-not-found]

    assert single.app.root_path == str(tmp_path)
    assert package.app.root_path == str(tmp_path / "package")
    for module, text in ((single, "module"), (package, "package")):
        with module.app.app_context():
            assert render_template("hello.html") == text
    with package.app.test_client().get("/static/style.css") as response:
        assert response.text == "css"
    for name in ("single", "package"):
        monkeypatch.delitem(sys.modules, name)


def test_the_development_server_is_started_from_the_command_line(tmp_path: Path) -> None:
    text = "from asyncflask import Flask\napp = Flask(__name__)\napp.get('/')(lambda: 'served')\n"
    write(tmp_path, {"main.py": text})
    process = subprocess.Popen(
        [sys.executable, "-m", "asyncflask", "--app", "main", "run", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(asyncflask.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process)
    try:
        server.wait_until_serving()
        assert server.host == "127.0.0.1"
        assert server.get("/") == "served"
    finally:
        server.stop()


def test_static_and_variable_paths(app: Flask, client: t.Any) -> None:
    app.add_url_rule("/api/users", "users", lambda: "all")
    app.add_url_rule("/api/users/<name>", "user", lambda name: f"user {name}")
    assert client.get("/api/users").text == "all"
    assert client.get("/api/users/test").text == "user test"
    assert client.get("/api/users/a/b").status_code == 404


@pytest.mark.parametrize(
    ("converter", "good", "value", "bad"),
    [
        ("string", "some text", "some text", "a/b"),
        ("int", "42", 42, "-1"),
        ("float", "4.5", 4.5, "4"),
        ("path", "a/b.txt", "a/b.txt", ""),
        (
            "uuid",
            "12345678-1234-5678-1234-567812345678",
            "12345678-1234-5678-1234-567812345678",
            "1234",
        ),
    ],
)
def test_converters(
    app: Flask, client: t.Any, converter: str, good: str, value: object, bad: str
) -> None:
    seen: list[t.Any] = []
    app.add_url_rule(f"/x/<{converter}:value>", "view", lambda value: seen.append(value) or "ok")
    assert client.get(f"/x/{good}").status_code == 200
    assert (str(seen[0]) if converter == "uuid" else seen[0]) == value
    assert client.get(f"/x/{bad}").status_code == 404


def test_a_rule_with_a_slash_is_redirected_to_and_one_without_is_exact(
    app: Flask, client: t.Any
) -> None:
    app.add_url_rule("/api/users/", "users", lambda: "users")
    app.add_url_rule("/api/posts", "posts", lambda: "posts")
    response = client.get("/api/users")
    assert response.status_code == 308
    assert response.location.endswith("/api/users/")
    assert client.get("/api/users", follow_redirects=True).text == "users"
    assert client.get("/api/posts").text == "posts"
    assert client.get("/api/posts/").status_code == 404


def test_urls_are_built_from_the_names_of_functions(app: Flask) -> None:
    @app.route("/")
    def index() -> str:
        return "index"

    @app.route("/user/<username>")
    def profile(username: str) -> str:
        return f"{username}'s profile"

    with app.test_request_context():
        assert url_for("index") == "/"
        assert url_for("index", next="/a b") == "/?next=/a+b"
        assert url_for("profile", username="John Doe") == "/user/John%20Doe"
        assert url_for("static", filename="style.css") == "/static/style.css"


def test_methods_of_a_route(app: Flask, client: t.Any) -> None:
    @app.route("/api/users", methods=["GET", "POST"])
    def users() -> str:
        return "created" if request.method == "POST" else "listed"

    assert client.get("/api/users").text == "listed"
    assert client.post("/api/users").text == "created"
    assert client.put("/api/users").status_code == 405
    assert client.put("/api/users").headers["Allow"].replace(" ", "").split(",") != []
    assert client.head("/api/users").status_code == 200
    assert client.head("/api/users").data == b""
    allowed = set(client.options("/api/users").headers["Allow"].split(", "))
    assert allowed == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_each_method_has_a_decorator(app: Flask, client: t.Any, method: str) -> None:
    getattr(app, method)("/")(lambda: request.method)
    assert getattr(client, method)("/").text == method.upper()
    assert client.open("/", method="PUT" if method != "put" else "GET").status_code == 405


def test_a_route_answers_get_unless_told_otherwise(app: Flask, client: t.Any) -> None:
    app.add_url_rule("/", "index", lambda: "ok")
    assert client.get("/").status_code == 200
    assert client.post("/").status_code == 405


# -- static files and templates -------------------------------------------------------------------


def test_static_files(app: Flask, client: t.Any, tmp_path: Path) -> None:
    write(tmp_path, {"static/style.css": "p {}"})
    with app.test_request_context():
        url = url_for("static", filename="style.css")
    with client.get(url) as response:
        assert (response.text, response.mimetype) == ("p {}", "text/css")


def test_templates_get_what_they_are_given(app: Flask, client: t.Any, tmp_path: Path) -> None:
    write(tmp_path, {"templates/hello.html": "Hello {{ name or 'World' }}"})

    @app.route("/hello/")
    @app.route("/hello/<name>")
    def hello(name: str | None = None) -> str:
        return render_template("hello.html", name=name)

    assert client.get("/hello/").text == "Hello World"
    assert client.get("/hello/Jane").text == "Hello Jane"
    assert client.get("/hello/<b>").text == "Hello &lt;b&gt;"


def test_templates_know_config_request_session_g_and_functions(app: Flask, client: t.Any) -> None:
    app.secret_key = "key"
    source = (
        "{{ config.SECRET_KEY }} {{ request.path }} {{ session.user }} {{ g.value }}"
        " {{ url_for('view', page=2) }} {{ get_flashed_messages() | join }}"
    )

    @app.route("/view")
    def view() -> str:
        session["user"] = "jane"
        g.value = 1
        flash("flashed")
        return render_template_string(source)

    assert client.get("/view").text == "key /view jane 1 /view?page=2 flashed"


# -- the request ----------------------------------------------------------------------------------


def test_a_request_is_bound_to_a_context_by_hand(app: Flask) -> None:
    with app.test_request_context("/hello", method="POST"):
        assert request.path == "/hello"
        assert request.method == "POST"
        environ = request.environ
    with app.request_context(environ):
        assert request.method == "POST"
    with pytest.raises(RuntimeError, match="outside of request context"):
        request.path  # noqa: B018


def test_the_login_example(app: Flask, client: t.Any, tmp_path: Path) -> None:
    write(tmp_path, {"templates/login.html": "<form>{{ error }}</form>"})

    @app.route("/login", methods=["POST", "GET"])
    def login() -> str:
        error = None
        if request.method == "POST":
            if (request.form["username"], request.form["password"]) == ("jane", "secret"):
                return f"logged in {request.form['username']}"
            error = "Invalid username/password"
        return render_template("login.html", error=error)

    assert client.get("/login").text == "<form>None</form>"
    good = {"username": "jane", "password": "secret"}
    assert client.post("/login", data=good).text == "logged in jane"
    assert "Invalid" in client.post("/login", data={**good, "password": "x"}).text
    assert client.post("/login", data={"username": "jane"}).status_code == 400


def test_put_has_a_form_as_well(app: Flask, client: t.Any) -> None:
    app.put("/")(lambda: request.form["a"])
    assert client.put("/", data={"a": "b"}).text == "b"


def test_arguments_of_the_query(app: Flask, client: t.Any) -> None:
    app.get("/")(lambda: f"[{request.args.get('key', '')}]")
    assert client.get("/?key=word").text == "[word]"
    assert client.get("/").text == "[]"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_uploaded_file_is_saved(
    app: Flask, client: t.Any, tmp_path: Path, asynchronous: bool
) -> None:
    def upload_file() -> str:
        if request.method == "POST":
            file = request.files["the_file"]
            name = secure_filename(file.filename or "")
            file.save(tmp_path / name)
            return name
        return "form"

    async def upload_file_async() -> str:
        return upload_file()

    view = upload_file_async if asynchronous else upload_file
    app.add_url_rule("/upload", "upload", view, methods=["GET", "POST"])
    data = {"the_file": (io.BytesIO(b"content"), "../../My file.txt")}
    assert client.post("/upload", data=data).text == "My_file.txt"
    assert (tmp_path / "My_file.txt").read_bytes() == b"content"
    assert client.get("/upload").text == "form"


def test_cookies_of_the_request(app: Flask, client: t.Any) -> None:
    app.get("/")(lambda: str(request.cookies.get("username")))
    assert client.get("/").text == "None"
    client.set_cookie("username", "jane")
    assert client.get("/").text == "jane"


# -- the response ---------------------------------------------------------------------------------


def test_a_response_is_made_and_changed(app: Flask, client: t.Any) -> None:
    @app.route("/")
    def index() -> Response:
        response = make_response(render_template_string("{{ foo }}", foo=42), 200)
        response.headers["X-Parachutes"] = "parachutes are cool"
        response.set_cookie("username", "the username")
        return response

    response = client.get("/")
    assert response.text == "42"
    assert response.headers["X-Parachutes"] == "parachutes are cool"
    assert client.get_cookie("username").decoded_value == "the username"


def test_redirects(app: Flask, client: t.Any) -> None:
    app.get("/login", endpoint="login")(lambda: "login page")
    app.get("/", endpoint="index")(lambda: redirect(url_for("login")))
    app.get("/away", endpoint="away")(lambda: app.redirect("https://example.com/x", 303))
    response = client.get("/")
    assert (response.status_code, response.location) == (302, "/login")
    assert client.get("/", follow_redirects=True).text == "login page"
    response = client.get("/away")
    assert (response.status_code, response.location) == (303, "https://example.com/x")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("way", ["abort", "app.abort"])
def test_abort_ends_the_view(app: Flask, client: t.Any, way: str, asynchronous: bool) -> None:
    reached: list[int] = []

    def login() -> t.NoReturn:
        (abort if way == "abort" else app.abort)(401)
        reached.append(1)

    async def login_async() -> t.NoReturn:
        login()

    app.add_url_rule("/login", "login", login_async if asynchronous else login)
    response = client.get("/login")
    assert response.status_code == 401
    assert "<title>401 Unauthorized</title>" in response.text
    assert reached == []


def test_app_abort_takes_what_abort_takes(app: Flask, client: t.Any) -> None:
    app.get("/text", endpoint="text")(lambda: app.abort(404, "No such thing"))
    app.get("/made", endpoint="made")(lambda: app.abort(Response("made", 418)))
    with pytest.raises(LookupError, match="999"):
        app.abort(999)
    assert "No such thing" in client.get("/text").text
    assert (client.get("/made").status_code, client.get("/made").text) == (418, "made")


def test_an_error_page_of_ones_own(app: Flask, client: t.Any, tmp_path: Path) -> None:
    write(tmp_path, {"templates/page_not_found.html": "Sorry: {{ error.name }}"})

    @app.errorhandler(404)
    def page_not_found(error: Exception) -> tuple[str, int]:
        return render_template("page_not_found.html", error=error), 404

    response = client.get("/nowhere")
    assert (response.status_code, response.text) == (404, "Sorry: Not Found")


def test_dicts_and_lists_become_json(app: Flask, client: t.Any) -> None:
    app.get("/user_image/<filename>", endpoint="user_image")(lambda filename: filename)

    @app.route("/me")
    def me_api() -> dict[str, t.Any]:
        return {"username": "jane", "image": url_for("user_image", filename="j.png")}

    @app.route("/users")
    def users_api() -> list[dict[str, str]]:
        return [{"username": "jane"}, {"username": "joe"}]

    app.get("/same", endpoint="same")(lambda: jsonify(username="jane"))
    assert client.get("/me").json == {"username": "jane", "image": "/user_image/j.png"}
    assert client.get("/users").json == [{"username": "jane"}, {"username": "joe"}]
    for path in ("/me", "/users", "/same"):
        assert client.get(path).mimetype == "application/json"


def test_what_json_cannot_say_is_an_error(app: Flask, client: t.Any) -> None:
    app.get("/")(lambda: {"value": object()})
    assert client.get("/").status_code == 500


# -- sessions -------------------------------------------------------------------------------------


def test_the_session_example(app: Flask, client: t.Any) -> None:
    app.secret_key = b'_5#y2L"F4Q8z\n\xec]/'

    @app.route("/")
    def index() -> str:
        if "username" in session:
            return f"Logged in as {session['username']}"
        return "You are not logged in"

    @app.route("/login/<name>")
    def login(name: str) -> Response:
        session["username"] = name
        return t.cast(Response, redirect(url_for("index")))

    @app.route("/logout")
    def logout() -> Response:
        session.pop("username", None)
        return t.cast(Response, redirect(url_for("index")))

    assert client.get("/").text == "You are not logged in"
    assert client.get("/login/jane", follow_redirects=True).text == "Logged in as jane"
    assert "jane" not in client.get_cookie("session").value
    assert client.get("/logout", follow_redirects=True).text == "You are not logged in"


def test_the_session_has_put_and_pop(app: Flask, client: t.Any) -> None:
    app.secret_key = "key"
    app.get("/put/<value>", endpoint="put")(lambda value: str(session.put("name", value)))
    app.get("/pop", endpoint="pop")(lambda: str(session.pop("name", None)))
    assert client.get("/put/jane").text == "None"
    assert client.get("/pop").text == "jane"
    assert client.get("/pop").text == "None"


def test_a_session_cannot_be_forged_and_needs_a_key(app: Flask, client: t.Any) -> None:
    app.testing = True
    app.get("/")(lambda: str(session.get("name")))
    app.get("/set", endpoint="set")(lambda: str(session.put("name", "jane")))
    assert client.get("/").text == "None"
    with pytest.raises(RuntimeError, match="secret key"):
        client.get("/set")
    app.secret_key = "key"
    client.get("/set")
    client.set_cookie("session", client.get_cookie("session").value[:-1] + "!")
    assert client.get("/").text == "None"


# -- the request context ---------------------------------------------------------------------------


def test_the_contexts_live_as_long_as_the_request(app: Flask, client: t.Any) -> None:
    seen: dict[str, t.Any] = {}

    @app.route("/<name>")
    def view(name: str) -> str:
        seen["view"] = (request.path, current_app.name, has_app_context())
        g.name = name
        return "ok"

    @app.teardown_request
    def end_request(exc: BaseException | None) -> None:
        seen["teardown_request"] = (request.path, g.name)

    @app.teardown_appcontext
    def end_appcontext(exc: BaseException | None) -> None:
        seen["teardown_appcontext"] = (has_request_context(), g.name)

    assert client.get("/x").text == "ok"
    assert seen == {
        "view": ("/x", app.name, True),
        "teardown_request": ("/x", "x"),
        "teardown_appcontext": (False, "x"),
    }
    assert not has_request_context() and not has_app_context()


def test_another_thread_knows_nothing_of_the_request(app: Flask, client: t.Any) -> None:
    found: list[bool] = []

    @app.route("/")
    def view() -> str:
        thread = threading.Thread(target=lambda: found.append(has_request_context()))
        thread.start()
        thread.join(timeout=10)
        return str(has_request_context())

    assert client.get("/").text == "True"
    assert found == [False]


def test_a_function_that_needs_a_request_is_tested_in_a_context(app: Flask) -> None:
    def generate_report(year: int) -> str:
        return f"{year} {request.args.get('format')} {request.form.get('format')}"

    with app.test_request_context("/make_report/2017", data={"format": "short"}):
        assert generate_report(2017) == "2017 None short"
    with app.test_request_context("/make_report/2017", query_string={"format": "short"}):
        assert generate_report(2017) == "2017 short None"


def note_callbacks(owner: t.Any, log: list[str], name: str) -> None:
    owner.before_request(lambda: log.append(f"{name} before"))
    owner.after_request(lambda response: log.append(f"{name} after") or response)
    owner.teardown_request(lambda exc: log.append(f"{name} teardown {type(exc).__name__}"))


def test_callbacks_run_in_order(app: Flask, client: t.Any) -> None:
    log: list[str] = []
    bp = Blueprint("bp", __name__)
    note_callbacks(app, log, "app")
    note_callbacks(bp, log, "bp")
    app.teardown_appcontext(lambda exc: log.append("teardown_appcontext"))
    bp.get("/bp", endpoint="own")(lambda: log.append("view") or "own")
    app.get("/app", endpoint="other")(lambda: "other")
    app.register_blueprint(bp)
    assert client.get("/bp").text == "own"
    assert log == [
        "app before",
        "bp before",
        "view",
        "bp after",
        "app after",
        "bp teardown NoneType",
        "app teardown NoneType",
        "teardown_appcontext",
    ]
    log.clear()
    assert client.get("/app").text == "other"
    assert log == ["app before", "app after", "app teardown NoneType", "teardown_appcontext"]


def test_what_a_before_request_function_returns_is_the_response(app: Flask, client: t.Any) -> None:
    app.before_request(lambda: ("stopped", 403))
    app.before_request(lambda: pytest.fail("not to be called"))
    app.after_request(lambda response: response.headers.update({"X-After": "1"}) or response)
    app.get("/")(lambda: pytest.fail("not to be called"))
    response = client.get("/")
    assert (response.status_code, response.text) == (403, "stopped")
    assert response.headers["X-After"] == "1"


def test_an_after_request_function_may_change_the_response(app: Flask, client: t.Any) -> None:
    app.after_request(lambda response: make_response(f"<{response.get_data(as_text=True)}>"))
    app.get("/")(lambda: "body")
    assert client.get("/").text == "<body>"


@pytest.mark.parametrize("handled", [True, False, None])
def test_an_exception_is_handled_or_becomes_a_500(
    app: Flask, client: t.Any, handled: bool | None
) -> None:
    log: list[str] = []
    note_callbacks(app, log, "app")
    app.get("/")(lambda: {}["missing"])
    if handled is not None:
        app.register_error_handler(KeyError, lambda e: "handled" if handled else 1 / 0)
    response = client.get("/")
    if handled:
        assert (response.status_code, response.text) == (200, "handled")
    else:
        assert response.status_code == 500
        assert "<h1>Internal Server Error</h1>" in response.text
    ended = {True: "NoneType", False: "ZeroDivisionError", None: "KeyError"}[handled]
    assert log == ["app before", "app after", f"app teardown {ended}"]
