"""A request on which nothing a client puts into its headers is an error to whoever looks at it."""

from __future__ import annotations

import typing as t

from werkzeug.datastructures import Authorization
from werkzeug.sansio.utils import get_current_url
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as RequestBase


class TolerantRequest(RequestBase):
    """Werkzeug's request, without the exceptions that its client could cause.

    Hosts that Python's IDNA cannot decode stay in Punycode; there are real ones among them,
    since browsers know a newer IDNA.
    """

    @cached_property
    def authorization(self) -> Authorization | None:
        """The parsed Authorization header, ``None`` if it is missing or malformed."""
        try:
            return Authorization.from_header(self.headers.get("Authorization"))
        except ValueError:
            return None

    @cached_property
    def url(self) -> str:
        """The whole URL: scheme, host, root path, path and query."""
        return self._url_of(self.root_path, self.path, self.query_string)

    @cached_property
    def base_url(self) -> str:
        """The URL without its query."""
        return self._url_of(self.root_path, self.path)

    @cached_property
    def root_url(self) -> str:
        """The URL where the application is mounted."""
        return self._url_of(self.root_path)

    @cached_property
    def host_url(self) -> str:
        """Scheme and host, with a slash at the end."""
        return self._url_of()

    def _url_of(self, *parts: t.Any) -> str:
        try:
            return get_current_url(self.scheme, self.host, *parts)
        except UnicodeError:
            scheme, colon, rest = get_current_url(self.scheme, "", *parts).partition("://")
            return f"{scheme}{colon}{self.host.lower()}{rest}"
