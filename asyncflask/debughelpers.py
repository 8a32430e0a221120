"""Errors and log messages that say more; they are used in debug mode only."""

from __future__ import annotations

import typing as t

from werkzeug.routing import RequestRedirect

from .globals import _cv_request

if t.TYPE_CHECKING:
    from jinja2 import BaseLoader

    from .application import App
    from .scaffold import Scaffold
    from .wrappers import Request

# What a loader of Jinja answers: source, file name, "is it up to date?"; None if not found.
_Found: t.TypeAlias = tuple[str, str | None, t.Callable[[], bool] | None] | None


class UnexpectedUnicodeError(AssertionError, UnicodeError):
    """Text or bytes where the other one was expected."""


class DebugFilesKeyError(KeyError, AssertionError):
    """A file was looked up that the form did not send, for want of the right ``enctype``.

    :param request: the request.
    :param key: the name of the form's field.
    """

    def __init__(self, request: Request, key: str) -> None:
        self.msg = (
            f"request.files has no {key!r}: the request was sent as {request.mimetype!r}, so no"
            ' file contents were transmitted. Add enctype="multipart/form-data" to the <form>.'
        )
        names = request.form.getlist(key)
        if names:
            listed = ", ".join(map(repr, names))
            self.msg += f"\n\nThe browser sent file names only. This was submitted: {listed}"
        super().__init__(self.msg)

    def __str__(self) -> str:
        # KeyError would show the message quoted and escaped.
        return self.msg


class FormDataRoutingRedirect(AssertionError):
    """A routing redirect would make the browser drop the method and the body.

    :param request: the request; its ``routing_exception`` is the redirect.
    """

    def __init__(self, request: Request) -> None:
        redirect = request.routing_exception
        assert isinstance(redirect, RequestRedirect)
        canonical = redirect.new_url
        parts = [
            f"A {request.method} request was sent to {request.url!r}, but the route belongs to the"
            f" canonical URL {canonical!r} and routing issued a redirect."
        ]
        if canonical.partition("?")[0] == f"{request.base_url}/":
            parts.append("The route's rule ends with a slash and the URL does not.")
        parts.append(
            "Send the request to the canonical URL, or give the rule the other form: on this"
            f" redirect ({redirect.code}) browsers drop the form data."
        )
        parts.append("This error is raised in debug mode only.")
        super().__init__(" ".join(parts))


def attach_enctype_error_multidict(request: Request) -> None:
    """Make ``request.files[key]`` raise :exc:`DebugFilesKeyError` where that explains the miss.

    :param request: the request, its form already parsed.
    """
    files = request.files
    base: type[t.Any] = type(files)

    def __getitem__(self: t.Any, key: str) -> t.Any:
        try:
            return base.__getitem__(self, key)
        except KeyError as error:
            if key not in request.form:
                raise
            explained = DebugFilesKeyError(request, key)
            raise explained.with_traceback(error.__traceback__) from None

    members = {"__getitem__": __getitem__, "__module__": base.__module__}
    # The object itself has to change: others may hold it already.
    files.__class__ = type(base.__name__, (base,), members)


def explain_template_loading_attempts(
    app: App,
    template: str,
    attempts: list[tuple[BaseLoader, Scaffold, _Found]],
) -> None:
    """Log which loaders were asked for a template and what they answered.

    :param app: the application, to whose logger it goes.
    :param template: the name of the template.
    :param attempts: the loader, the application or blueprint it belongs to, and its answer.
    """
    lines = [f"Looking for the template {template!r}:"]
    for number, (loader, owner, found) in enumerate(attempts, 1):
        lines.append(f"{number:5}: trying loader of {_describe_owner(app, owner)}")
        lines.extend(f"       {line}" for line in _describe_loader(loader))
        answer = "not here" if found is None else f"found in {found[1] or '<string>'!r}"
        lines.append(f"       -> {answer}")
    hits = sum(found is not None for _, _, found in attempts)
    if hits != 1:
        lines.extend(_describe_problem(hits))
    app.logger.info("\n".join(lines))


def _describe_owner(app: App, owner: t.Any) -> str:
    if owner is app:
        return f"application {owner.import_name!r}"
    # Only a blueprint is left: importing the class to ask for it would close a circle.
    return f"blueprint {owner.name!r} ({owner.import_name})"


def _describe_loader(loader: BaseLoader) -> t.Iterator[str]:
    yield f"class {type(loader).__module__}.{type(loader).__name__}"
    for name, value in sorted(vars(loader).items()):
        if name.startswith("_"):
            continue
        if isinstance(value, str | int | float):
            yield f"{name}: {value!r}"
        elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            yield f"{name}:"
            yield from (f"  - {item}" for item in value)


def _describe_problem(hits: int) -> t.Iterator[str]:
    if hits:
        yield "Warning: several loaders have the template, of which the first one is used."
    else:
        yield "Error: the template could not be found."
    context = _cv_request.get(None)
    blueprint = None if context is None else context.request.blueprint
    if blueprint is not None:
        yield (
            "  The template was looked up from an endpoint that belongs to the blueprint"
            f" {blueprint!r}."
        )
        yield "  Is the template in the folder of that blueprint, or in that of the application?"
        yield "  See https://flask.palletsprojects.com/blueprints/#templates"
