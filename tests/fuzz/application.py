"""The application that both frameworks answer with: its views echo what they see."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path
from types import ModuleType

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.http import http_date

Paint: t.TypeAlias = t.Callable[[t.Callable[..., t.Any]], t.Callable[..., t.Any]]

SECRET = "not secret"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "PROPFIND"]
#: When the files were last changed, and what is said to have been made then.
CHANGED = 1_700_000_000
ETAG = "abc"

#: Settings for whole applications; the first is the usual one.
VARIANTS: dict[str, dict[str, t.Any]] = {
    "plain": {},
    "narrow": {
        "MAX_CONTENT_LENGTH": 400,
        "TRUSTED_HOSTS": ["localhost", ".example.com"],
        "SESSION_COOKIE_PATH": "/session",
        "PERMANENT_SESSION_LIFETIME": 60,
        "SESSION_REFRESH_EACH_REQUEST": False,
        "TRAP_BAD_REQUEST_ERRORS": False,
    },
    "named": {
        "SERVER_NAME": "example.com",
        "SUBDOMAIN_MATCHING": True,
        "MAX_FORM_MEMORY_SIZE": 500_000,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_PARTITIONED": True,
        "SESSION_COOKIE_SECURE": True,
    },
    "debug": {"DEBUG": True, "PROPAGATE_EXCEPTIONS": False},
}


def make_files(folder: Path) -> None:
    """Fill the folder of static files."""
    (folder / "sub").mkdir(parents=True)
    for name, content in {
        "a.txt": b"0123456789" * 10,
        "empty": b"",
        "page.html": b"<p>page</p>",
        "sub/b.css": b"p {}",
        "caf\u00e9.txt": b"coffee",
        "data.json": b"{}",
    }.items():
        path = folder / name
        path.write_bytes(content)
        os.utime(path, (CHANGED, CHANGED))


def pairs(multi: t.Any) -> t.Any:
    """Give what is in a MultiDict, in its order."""
    return list(multi.items(multi=True))


def told(value: t.Any) -> t.Any:
    """Give a value as something JSON can hold, the same for the same value."""
    if isinstance(value, MultiDict):
        return pairs(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): told(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [told(one) for one in value]
    return repr(value)


def guarded(func: t.Callable[[], t.Any]) -> t.Any:
    """Call a function and give what it returns, or what it raises."""
    try:
        return told(func())
    except HTTPException as exc:
        return ["raised", type(exc).__name__, exc.code]
    except Exception as exc:
        return ["raised", type(exc).__name__]


def build(web: ModuleType, paint: Paint, folder: Path, config: dict[str, t.Any]) -> t.Any:
    """Build the application.

    :param web: ``flask`` or ``asyncflask``.
    :param paint: gives a callback its colour.
    :param folder: the static files.
    """
    app = web.Flask(
        "application",
        static_folder=str(folder),
        root_path=str(folder),
        subdomain_matching=config.get("SUBDOMAIN_MATCHING", False),
    )
    app.config.update(
        SECRET_KEY=SECRET,
        MAX_FORM_FIELDS=40,
        MAX_FORM_PARTS=12,
        MAX_FORM_MEMORY_SIZE=2000,
        SEND_FILE_MAX_AGE_DEFAULT=None,
    )
    app.config.update(config)
    app.logger.disabled = True
    for add in (_add_url, _add_headers, _add_bodies, _add_answers, _add_errors, _add_files):
        add(web, app, paint)
    return app


def _add_url(web: ModuleType, app: t.Any, paint: Paint) -> None:
    request = web.request
    names = (
        "method path full_path url base_url url_root root_url host host_url root_path script_root"
        " query_string args scheme is_secure remote_addr access_route endpoint view_args blueprint"
        " blueprints server"
    ).split()

    def seen(**values: t.Any) -> t.Any:
        found = {name: guarded(lambda name=name: getattr(request, name)) for name in names}
        return web.jsonify(seen=found, rule=str(request.url_rule), values=told(values))

    view = paint(seen)
    for number, rule in enumerate(
        (
            "/",
            "/url",
            "/url/<path:rest>",
            "/int/<int:n>",
            "/int/signed/<int(signed=True, max=500):n>",
            "/int/fixed/<int(fixed_digits=3):n>",
            "/float/<float(signed=True):x>",
            "/any/<any(a, 'b c', caf\u00e9):one>",
            "/uuid/<uuid:u>",
            "/string/<string(length=3):s>/<string(minlength=2, maxlength=4):u>",
            "/two/<a>-<b>.<c>",
            "/slash/",
            "/slash/<name>/",
            "/noslash/<name>",
            "/caf\u00e9/<name>/",
        )
    ):
        app.add_url_rule(rule, f"seen{number}", view, methods=METHODS)
    app.add_url_rule("/loose/", "loose", view, strict_slashes=False)
    app.add_url_rule("/only-post", "only_post", view, methods=["POST", "PUT"])
    app.add_url_rule("/post-slash/", "post_slash", view, methods=["POST"])
    app.add_url_rule("/alias", "alias", view, alias=True)
    app.add_url_rule("/aliased", "alias", view)
    app.add_url_rule("/moved/<name>", "moved", view, redirect_to="slash/<name>/")
    app.add_url_rule("/default/", "default", view, defaults={"page": 1})
    app.add_url_rule("/default/<int:page>", "default", view)
    app.add_url_rule("/sub/", "sub", view, subdomain="<name>")
    app.add_url_rule("/sub/", "sub_a", view, subdomain="a")
    app.add_url_rule("/own-options", "own", view, methods=["GET"], provide_automatic_options=False)


def _add_headers(web: ModuleType, app: t.Any, paint: Paint) -> None:
    request = web.request
    names = (
        "cookies content_type mimetype mimetype_params content_length content_encoding content_md5"
        " referrer date max_forwards origin pragma access_control_request_headers"
        " access_control_request_method authorization accept_mimetypes accept_charsets"
        " accept_encodings accept_languages if_match if_none_match if_modified_since"
        " if_unmodified_since if_range range cache_control is_json user_agent user_agent.string"
        " want_form_data_parsed"
    ).split()
    choices: dict[str, list[str]] = {
        "accept_mimetypes": ["text/html", "application/json", "text/plain;level=1", "image/*"],
        "accept_languages": ["de", "en-GB", "en", "fr-CH"],
        "accept_encodings": ["gzip", "br", "identity"],
        "accept_charsets": ["utf-8", "latin-1"],
    }

    def get(path: str) -> t.Any:
        value: t.Any = request
        for name in path.split("."):
            value = getattr(value, name)
        return value

    @app.route("/headers", methods=METHODS)
    @paint
    def headers() -> t.Any:
        found = {name: guarded(lambda name=name: get(name)) for name in names}
        found["headers"] = sorted(request.headers)
        # A scope does not tell whether there is an empty query.
        found["environ"] = {
            name: value.removesuffix("?") if name.endswith("_URI") else value
            for name, value in request.environ.items()
            if name.isupper()
        }
        for name, offered in choices.items():
            accepted = getattr(request, name)
            found[f"{name}: best"] = accepted.best_match(offered)
            found[f"{name}: all"] = [(one, accepted.quality(one)) for one in offered]
        for name in ("Host", "cookie", "X-Odd", "X_Under", "content-type", "None"):
            found[f"header {name}"] = (request.headers.get(name), name in request.headers)
        found["json and html"] = guarded(lambda: request.accept_mimetypes.accept_json)
        found["range"] = guarded(lambda: request.range.range_for_length(100))
        found["ranges"] = guarded(lambda: request.range.make_content_range(100))
        found["cache"] = guarded(lambda: (request.cache_control.max_age, request.cache_control))
        found["basic"] = guarded(
            lambda: (
                request.authorization.type,
                request.authorization.username,
                request.authorization.password,
                request.authorization.token,
                request.authorization.parameters,
            )
        )
        return web.jsonify(found)


def _add_bodies(web: ModuleType, app: t.Any, paint: Paint) -> None:
    request = web.request

    def files() -> t.Any:
        return [
            (
                name,
                file.filename,
                file.name,
                file.content_type,
                file.mimetype,
                file.mimetype_params,
                file.content_length,
                sorted(file.headers),
                file.read(),
            )
            for name, file in request.files.items(multi=True)
        ]

    def read_in_pieces() -> t.Any:
        stream = request.stream
        return stream.read(7), stream.readline(), stream.read(3), stream.read()

    steps: dict[str, t.Callable[[], t.Any]] = {
        "form": lambda: request.form,
        "files": files,
        "values": lambda: request.values,
        "data": lambda: request.data,
        "raw": lambda: request.get_data(),
        "text": lambda: request.get_data(as_text=True),
        "uncached": lambda: request.get_data(cache=False),
        "parsed": lambda: request.get_data(parse_form_data=True),
        "json": lambda: request.get_json(),
        "silent": lambda: request.get_json(silent=True),
        "force": lambda: request.get_json(force=True),
        "stream": lambda: request.stream.read(),
        "pieces": read_in_pieces,
        "lines": lambda: list(request.stream),
    }

    @app.route("/body/<order>", methods=METHODS)
    @paint
    def body(order: str) -> t.Any:
        steps_there = [name for name in order.split("-") if name in steps]
        return web.jsonify([(name, guarded(steps[name])) for name in steps_there])

    @app.route("/raise/<name>", methods=METHODS)
    @paint
    def raising(name: str) -> t.Any:
        if name not in steps:
            web.abort(404)
        return web.jsonify(told(steps[name]()))

    @app.route("/field/<where>", methods=METHODS)
    @paint
    def field(where: str) -> t.Any:
        if where not in ("args", "form", "files", "values", "cookies", "headers", "json"):
            web.abort(404)
        return web.jsonify(told(getattr(request, where)["a"]))

    @app.route("/typed", methods=METHODS)
    @paint
    def typed() -> t.Any:
        return web.jsonify(
            a=request.args.get("a", type=int),
            b=request.args.getlist("b", type=float),
            c=request.values.get("c", "none"),
            d=request.args.to_dict(flat=False),
        )

    @app.before_request
    @paint
    def limit() -> None:
        if request.endpoint == "limited":
            request.max_content_length = 30
            request.max_form_parts = 2
            request.max_form_memory_size = 10

    @app.route("/limited/<order>", methods=METHODS)
    @paint
    def limited(order: str) -> t.Any:
        steps_there = [name for name in order.split("-") if name in steps]
        return web.jsonify([(name, guarded(steps[name])) for name in steps_there])


def _add_answers(web: ModuleType, app: t.Any, paint: Paint) -> None:
    request = web.request
    session = web.session

    @app.route("/respond", methods=METHODS)
    @paint
    def respond() -> t.Any:
        args = request.args
        response = web.Response(args.get("b", "body"))
        if "s" in args:
            response.status = args["s"]
        if "n" in args:
            response.headers.add(args["n"], args.get("v", ""))
        if "t" in args:
            response.content_type = args["t"]
        return response

    @app.route("/returned/<int:kind>")
    @paint
    def returned(kind: int) -> t.Any:
        text = request.args.get("a", "")
        made: list[t.Any] = [text, [text], {"a": text}, (text, 201), (text, {"X-Odd": "v"})]
        made += [text.encode(), ("", 204), (text, 304), None, 5, (text, "299 odd"), iter([text])]
        return made[kind] if kind < len(made) else (text, kind)

    @app.route("/cookie")
    @paint
    def cookie() -> t.Any:
        args = request.args
        response = web.make_response("set")
        response.set_cookie(
            args.get("n", "a"),
            args.get("v", ""),
            max_age=args.get("m", type=int),
            path=args.get("p"),
            domain=args.get("d"),
            samesite=args.get("s"),
            secure="x" in args,
        )
        response.delete_cookie("gone")
        return response

    @app.route("/session/<action>", methods=METHODS)
    @paint
    def use_session(action: str) -> t.Any:
        before = told(dict(session))
        if action == "set":
            session.permanent = "p" in request.args
            session["a"] = request.args.get("a")
        elif action == "clear":
            session.clear()
        elif action == "flash":
            web.flash(request.args.get("a", ""))
            return web.jsonify(web.get_flashed_messages(with_categories=True))
        elif action == "untouched":
            return "untouched"
        return web.jsonify(before=before, after=told(dict(session)))

    @app.route("/go", methods=METHODS)
    @paint
    def go() -> t.Any:
        return web.redirect(request.args["a"], request.args.get("b", 302, type=int))

    @app.route("/url-for")
    @paint
    def url_for() -> t.Any:
        values = request.args.to_dict()
        return web.url_for(values.pop("e", "go"), **values)

    @app.route("/template")
    @paint
    def template() -> t.Any:
        source = "{{ a }}|{{ request.path }}|{{ url_for('go', a=a) }}|{{ session.get('a') }}"
        return web.render_template_string(source, a=request.args.get("a"))

    @app.route("/stream")
    @paint
    def stream() -> t.Any:
        @web.stream_with_context
        def generate() -> t.Iterator[str]:
            yield request.full_path
            yield ""
            yield from request.args.getlist("a")

        return generate(), {"X-Odd": "streamed"}

    @app.after_request
    @paint
    def mark(response: t.Any) -> t.Any:
        response.headers["X-After"] = str(request.endpoint)
        return response


def _add_errors(web: ModuleType, app: t.Any, paint: Paint) -> None:
    request = web.request
    part = web.Blueprint("part", __name__, url_prefix="/part")

    @app.route("/abort/<int:code>", methods=METHODS)
    @part.route("/abort/<int:code>", methods=METHODS)
    @paint
    def abort(code: int) -> t.Any:
        web.abort(code, request.args.get("a"))

    @app.route("/error/<name>", methods=METHODS)
    @part.route("/error/<name>", methods=METHODS)
    @paint
    def error(name: str) -> t.Any:
        raise {"key": KeyError, "value": ValueError, "unicode": UnicodeError}.get(name, OSError)(
            name
        )

    @app.errorhandler(ValueError)
    @paint
    def on_value_error(exc: Exception) -> t.Any:
        return f"{type(exc).__name__}: {exc}", 409

    @app.errorhandler(418)
    @part.errorhandler(404)
    @paint
    def on_http(exc: t.Any) -> t.Any:
        return web.jsonify(code=exc.code, text=exc.description), exc.code

    app.register_blueprint(part)


def _add_files(web: ModuleType, app: t.Any, paint: Paint) -> None:
    request = web.request
    path = Path(app.static_folder) / "a.txt"

    @app.route("/file", methods=METHODS)
    @paint
    def file() -> t.Any:
        args = request.args
        return web.send_file(
            path,
            mimetype=args.get("t"),
            as_attachment="d" in args,
            download_name=args.get("n"),
            conditional="u" not in args,
            etag=ETAG,
        )

    @app.route("/from/<path:name>")
    @paint
    def from_directory(name: str) -> t.Any:
        return web.send_from_directory(app.static_folder, name)

    @app.route("/made", methods=METHODS)
    @paint
    def made() -> t.Any:
        response = web.make_response("0123456789" * 10)
        response.set_etag(ETAG, weak="w" in request.args)
        response.headers["Last-Modified"] = http_date(CHANGED)
        response.vary.add("Accept")
        return response.make_conditional(request, accept_ranges=True, complete_length=100)
