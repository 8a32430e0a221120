"""Sessions: the objects, the interface to replace them with, and the default in a signed cookie."""

from __future__ import annotations

import collections.abc as c
import functools
import hashlib
import types
import typing as t
from datetime import datetime
from datetime import UTC

from itsdangerous import BadSignature
from itsdangerous import URLSafeTimedSerializer
from werkzeug.datastructures import CallbackDict

from . import json
from .config import Config
from .json.tag import TaggedJSONSerializer
from .lanes import colour_of
from .lanes import INLINE
from .lanes import inline
from .lanes import SYNC
from .response_headers import Headers
from .session_cookie import code_of
from .session_cookie import keep
from .session_cookie import Kept
from .session_cookie import make_serializer
from .session_cookie import SessionCookie
from .signing import may_contain

if t.TYPE_CHECKING:
    from .app import Flask
    from .wrappers import Request
    from .wrappers import Response

_NO_KEY = (
    "The session is unavailable because no secret key was set. Set app.secret_key (or the config"
    " value 'SECRET_KEY') to something random, and keep it secret."
)


class SessionMixin(c.MutableMapping[str, t.Any]):
    """What a mapping needs beside its items to be a session."""

    new = False
    """Whether the session was just created, where an implementation can tell."""

    modified = True
    """Whether the session must be saved. Implementations that notice changes start at ``False``."""

    accessed = False
    """Whether the request looked at its session. The request context sets it, and the response
    then varies by cookie."""

    @property
    def permanent(self) -> bool:
        """Whether the session outlives the browser; kept under the key ``_permanent``."""
        return bool(self.get("_permanent", False))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self["_permanent"] = bool(value)

    def put(self, name: str, value: t.Any) -> None:
        """Store a value; the same as ``session[name] = value``.

        :param name: the key to read it with again.
        :param value: anything the session's serializer accepts.
        """
        self[name] = value


def _mark_modified(session: SecureCookieSession) -> None:
    session.modified = True


class SecureCookieSession(CallbackDict[str, t.Any], SessionMixin):
    """A session that notices changes of its own items.

    Changes inside a value (a list in the session, say) are not noticed: set ``modified`` then.

    :param initial: the items to begin with; they do not count as a change.
    """

    modified = False

    def __init__(self, initial: c.Mapping[str, t.Any] | None = None) -> None:
        # As the base class does, with a call less.
        if initial is None:
            dict.__init__(self)
        else:
            dict.__init__(self, initial)
        self.on_update = _mark_modified

    def __setitem__(self, key: str, value: t.Any) -> None:
        if type(self) is SecureCookieSession and self.on_update is _mark_modified:
            # As the base classes do, with three calls less.
            dict.__setitem__(self, key, value)
            self.modified = True
        else:
            super().__setitem__(key, value)


class NullSession(SecureCookieSession):
    """An empty session that can be read and refuses to be written, for lack of a secret key."""

    def _fail(self, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
        raise RuntimeError(_NO_KEY)

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = update = setdefault = _fail
    del _fail


class SessionInterface:
    """Base of what opens the session of a request and saves it; assign ``app.session_interface``.

    Subclasses define :meth:`open_session` and :meth:`save_session`, as ``def`` or ``async def``.
    Requests of one client may run at the same time, so a store must bear concurrent use.
    """

    null_session_class = NullSession
    """The class of the session a request gets when :meth:`open_session` returns ``None``."""

    pickle_based = False
    """Whether values are pickled, for extensions that want to know."""

    def make_null_session(self, app: Flask) -> NullSession:
        """Create the stand-in for a session that could not be opened.

        :param app: the application.
        """
        return self.null_session_class()

    def is_null_session(self, obj: object) -> bool:
        """Tell whether *obj* is such a stand-in, which is never saved.

        :param obj: a session.
        """
        if type(obj) is SecureCookieSession and self.null_session_class is NullSession:
            return False
        return isinstance(obj, self.null_session_class)

    def get_cookie_name(self, app: Flask) -> str:
        """Give the cookie's name, from ``SESSION_COOKIE_NAME``.

        :param app: the application.
        """
        return app.config["SESSION_COOKIE_NAME"]  # type: ignore[no-any-return]

    def get_cookie_domain(self, app: Flask) -> str | None:
        """Give the cookie's ``Domain``, from ``SESSION_COOKIE_DOMAIN``.

        :param app: the application.
        :returns: ``None`` to bind the cookie to the very host that set it.
        """
        return app.config["SESSION_COOKIE_DOMAIN"]  # type: ignore[no-any-return]

    def get_cookie_path(self, app: Flask) -> str:
        """Give the cookie's ``Path``: ``SESSION_COOKIE_PATH``, or else ``APPLICATION_ROOT``.

        :param app: the application.
        """
        config = app.config
        return config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"]  # type: ignore[no-any-return]

    def get_cookie_httponly(self, app: Flask) -> bool:
        """Tell whether scripts are kept from the cookie, from ``SESSION_COOKIE_HTTPONLY``.

        :param app: the application.
        """
        return app.config["SESSION_COOKIE_HTTPONLY"]  # type: ignore[no-any-return]

    def get_cookie_secure(self, app: Flask) -> bool:
        """Tell whether the cookie is for HTTPS only, from ``SESSION_COOKIE_SECURE``.

        :param app: the application.
        """
        return app.config["SESSION_COOKIE_SECURE"]  # type: ignore[no-any-return]

    def get_cookie_samesite(self, app: Flask) -> str | None:
        """Give the cookie's ``SameSite``, from ``SESSION_COOKIE_SAMESITE``.

        :param app: the application.
        """
        return app.config["SESSION_COOKIE_SAMESITE"]  # type: ignore[no-any-return]

    def get_cookie_partitioned(self, app: Flask) -> bool:
        """Tell whether the cookie is ``Partitioned``, from ``SESSION_COOKIE_PARTITIONED``.

        :param app: the application.
        """
        return app.config["SESSION_COOKIE_PARTITIONED"]  # type: ignore[no-any-return]

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime | None:
        """Give the moment a permanent session ends.

        :param app: the application; its ``permanent_session_lifetime`` counts from now.
        :param session: the session to save.
        :returns: ``None`` for a session that ends with the browser.
        """
        if not session.permanent:
            return None
        return datetime.now(UTC) + app.permanent_session_lifetime

    def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
        """Tell whether this response carries the cookie.

        :param app: the application.
        :param session: the session to save.
        :returns: true for a modified session, and for a permanent one at every request unless
            ``SESSION_REFRESH_EACH_REQUEST`` is off.
        """
        if session.modified:
            return True
        return session.permanent and bool(app.config["SESSION_REFRESH_EACH_REQUEST"])

    def open_session(
        self, app: Flask, request: Request
    ) -> SessionMixin | None | t.Awaitable[SessionMixin | None]:
        """Load the session of a request; called with its context pushed, before the hooks.

        :param app: the application.
        :param request: the request; its URL is not matched yet.
        :returns: the session, or ``None`` to have :meth:`make_null_session` called.
        """
        raise NotImplementedError(f"{type(self).__name__!r} must define 'open_session'.")

    def save_session(
        self, app: Flask, session: SessionMixin, response: Response
    ) -> None | t.Awaitable[None]:
        """Save the session of a request; called after the ``after_request`` hooks.

        :param app: the application.
        :param session: what :meth:`open_session` returned; never a null session.
        :param response: the response that is about to be sent.
        """
        raise NotImplementedError(f"{type(self).__name__!r} must define 'save_session'.")


session_json_serializer = TaggedJSONSerializer()
"""Serializes the values of cookie sessions: JSON, and a few Python types in tags."""


def _lazy_sha1(string: bytes = b"") -> t.Any:
    # A FIPS build may lack SHA-1: fail when it is used, so that another can be chosen before.
    return hashlib.sha1(string)


class SecureCookieSessionInterface(SessionInterface):
    """The default: the session travels in a cookie, signed against changes but readable.

    It never blocks, so it runs on the event loop. A subclass that defines methods of its own is
    used on a worker thread, as all sync user code, unless they are marked with
    ``@asyncflask.inline``.
    """

    salt = "cookie-session"
    """What keeps these signatures apart from others made with the same secret key."""

    digest_method = staticmethod(_lazy_sha1)
    """The hash function of the signature."""

    key_derivation = "hmac"
    """How itsdangerous derives the signing key from the secret key."""

    serializer: t.Any = session_json_serializer
    """Turns the session into text and back, with ``dumps`` and ``loads``."""

    session_class = SecureCookieSession
    """The class of the sessions."""

    _signing: tuple[tuple[t.Any, ...], URLSafeTimedSerializer] | None = None
    _kept: dict[object, Kept] | None = None

    def __setattr__(self, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        if name not in _KEPT:
            # What is made meanwhile of the settings before goes into the old dict.
            self._kept = None

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._kept = None

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        added = [base for base in cls.__mro__ if base not in SecureCookieSessionInterface.__mro__]
        if any(_has_sync_code(base) for base in added):
            for name in ("open_session", "save_session"):
                if colour_of(getattr(cls, name)) == INLINE and name not in vars(cls):
                    setattr(cls, name, _without_mark(getattr(cls, name)))

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Give what signs and verifies the cookie; kept until a setting it is made of changes.

        :param app: the application; ``SECRET_KEY_FALLBACKS`` verify, its secret key also signs.
        :returns: ``None`` without a secret key.
        """
        settings = self._signing_settings(app)
        if settings is None:
            return None
        kept = self._signing
        if kept is None or kept[0] != settings:
            # One assignment of a pair: another thread sees all of it or nothing.
            kept = self._signing = (settings, make_serializer(*settings))
        return kept[1]

    def _signing_settings(self, app: Flask) -> tuple[t.Any, ...] | None:
        key = app.secret_key
        if not key:
            return None
        fallbacks = app.config["SECRET_KEY_FALLBACKS"]
        # The last key is the one that signs.
        keys = (*fallbacks, key) if fallbacks else (key,)
        return (
            tuple([_as_it_is_now(key) for key in keys]),
            _as_it_is_now(self.salt),
            self.serializer,
            self.key_derivation,
            self.digest_method,
        )

    @inline
    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Read the session from the request's cookie.

        :param app: the application.
        :param request: the request.
        :returns: an empty session where the cookie is missing, too old or not signed by one of
            the keys; ``None`` without a secret key.
        """
        kept = self._cookie(app)
        items = None if kept is None else kept.read(request)
        if items is not None:
            return self.session_class(items)
        serializer = self.get_signing_serializer(app)
        if serializer is None:
            return None
        cookie = request.cookies.get(self.get_cookie_name(app))
        if not cookie:
            return self.session_class()
        max_age = int(app.permanent_session_lifetime.total_seconds())
        try:
            return self.session_class(serializer.loads(cookie, max_age=max_age))
        except BadSignature as error:
            # The serializer's frame holds it: with its traceback, and so the request, in a circle.
            error.__traceback__ = None
            return self.session_class()

    @inline
    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Set the session's cookie where it must be set, or delete it where it was emptied.

        :param app: the application.
        :param session: the session.
        :param response: gets the cookie, and ``Vary: Cookie`` wherever the session had a part.
        """
        varies = session.accessed
        if varies:
            _vary_by_cookie(response)
        if not session:
            if not session.modified:
                return
            name, options = self.get_cookie_name(app), self._cookie_options(app)
            response.delete_cookie(name, **options)
        elif self.should_set_cookie(app, session):
            self._set_cookie(app, session, response)
        else:
            return
        if not varies:
            _vary_by_cookie(response)

    def _may_refresh(self, app: Flask, request: Request) -> bool:
        """Tell whether a session that nobody has looked at may have to be sent again."""
        if (
            type(self) is not SecureCookieSessionInterface
            or not vars(self).keys() <= _KEPT
            or self.session_class is not SecureCookieSession
            or self.serializer is not session_json_serializer
            or not session_json_serializer._is_stock()
            or json._is_replaced()
        ):
            return True
        if not app.config["SESSION_REFRESH_EACH_REQUEST"]:
            return False
        cookie = request.cookies.get(self.get_cookie_name(app))
        # Whoever has signed it, and whether that is so: no other session is sent again.
        return bool(cookie) and may_contain(t.cast(str, cookie), b"_permanent")

    def _set_cookie(self, app: Flask, session: SessionMixin, response: Response) -> None:
        kept = self._cookie(app)
        if kept is not None:
            expires = self.get_expiration_time(app, session)
            if kept.write(dict(session), response, expires):
                return
        serializer = self.get_signing_serializer(app)
        if serializer is None:
            raise RuntimeError(_NO_KEY)
        name, options = self.get_cookie_name(app), self._cookie_options(app)
        expires = self.get_expiration_time(app, session)
        response.set_cookie(name, serializer.dumps(dict(session)), expires=expires, **options)

    def _cookie_options(self, app: Flask) -> dict[str, t.Any]:
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }

    def _cookie(self, app: Flask) -> SessionCookie | None:
        """Give what reads and writes the cookie; ``None`` where others' code has a say in that."""
        config = app.config
        if type(config) is not Config:
            return None
        # What is changed while something is made of it has another state, or is in another dict.
        state, holder = config._state, self._kept
        if holder is None or len(holder) > _MAX_KEPT:
            # The interface that an application has by default is that of all the others, too.
            holder = self._kept = {}
        kept = holder.get(state)
        if kept is None or kept.app_class is not type(app) or kept.code != code_of(type(self)):
            kept = holder[state] = keep(self, app, _STOCK)
        return kept.cookie


_KEPT: t.Final = frozenset({"_signing", "_kept"})
_MAX_KEPT: t.Final = 32
_STOCK: t.Final = code_of(SecureCookieSessionInterface)


def _as_it_is_now(secret: t.Any) -> t.Any:
    """Give a key or a salt; of a proxy, which stays equal to itself, what it stands for."""
    if type(secret) is str or type(secret) is bytes:
        return secret
    if isinstance(secret, str):
        return secret.encode()
    return bytes(secret) if isinstance(secret, bytes) else secret


def _vary_by_cookie(response: Response) -> None:
    fresh = getattr(response, "_untouched", None) is not None
    headers = response.headers
    if fresh and type(headers) is Headers:
        headers._list.append(("Vary", "Cookie"))
        return
    given = headers.getlist("Vary")
    if not given:
        headers.add("Vary", "Cookie")
    elif given[0] != "Cookie":
        response.vary.add("Cookie")


def _has_sync_code(cls: type) -> bool:
    """Tell whether a class defines methods or properties that were not declared inline."""
    for name, value in vars(cls).items():
        func = value.fget if isinstance(value, property) else value
        if isinstance(func, types.FunctionType) and not name.startswith("__"):
            if colour_of(func) == SYNC:
                return True
    return False


def _without_mark(method: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    def on_thread(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        return method(self, *args, **kwargs)

    # The mark of an inline function stands in its __dict__.
    return functools.update_wrapper(on_thread, method, updated=())
