"""``RequestForm``: a request with its limits, and what its content type says of its body."""

from __future__ import annotations

import typing as t

from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as RequestBase

from .adapters.environ import CountedStream
from .adapters.forms import FormParser
from .adapters.forms import read_urlencoded
from .globals import _cv_app
from .request_head import RequestHead

_URLENCODED: t.Final = "application/x-www-form-urlencoded"
_JSON: t.Final = "application/json"


class RequestForm(RequestHead):
    """A request without the ways to read its body, which :class:`~asyncflask.Request` adds.

    Made from a WSGI environ by calling the class, from an ASGI scope by :meth:`from_scope`.

    :param environ: the WSGI environ.
    :param populate_request: whether to store the request in the environ.
    :param shallow: whether reading the body is to be an error.
    """

    form_data_parser_class = FormParser

    _reads_plainly = True
    """Whether no function of the user's can take part in reading the body."""
    _cached_data: bytes | None = None  # type: ignore[assignment]

    _max_content_length: int | None = None
    _max_form_memory_size: int | None = None
    _max_form_parts: int | None = None

    # -- limits --------------------------------------------------------------------------

    @property
    def max_content_length(self) -> int | None:
        """Bytes the body may have; ``MAX_CONTENT_LENGTH`` unless set for this request."""
        # Every request with a body asks for it.
        own = self._max_content_length
        return self._limit("_max_content_length", "MAX_CONTENT_LENGTH") if own is None else own

    @max_content_length.setter
    def max_content_length(self, value: int | None) -> None:
        self._max_content_length = value
        stream = self.__dict__.get("stream")
        if self.body is not None:
            self.body.limit = self.max_content_length
        elif isinstance(stream, CountedStream):
            stream.set_limit(self.max_content_length)

    @property
    def max_form_memory_size(self) -> int | None:
        """Bytes a form field that is not a file may have; ``MAX_FORM_MEMORY_SIZE`` by default."""
        return self._limit("_max_form_memory_size", "MAX_FORM_MEMORY_SIZE")

    @max_form_memory_size.setter
    def max_form_memory_size(self, value: int | None) -> None:
        self._max_form_memory_size = value

    @property  # type: ignore[override]
    def max_form_parts(self) -> int | None:
        """Parts a multipart form may have; ``MAX_FORM_PARTS`` unless set for this request."""
        return self._limit("_max_form_parts", "MAX_FORM_PARTS")

    @max_form_parts.setter
    def max_form_parts(self, value: int | None) -> None:
        self._max_form_parts = value

    def _limit(self, attribute: str, key: str) -> int | None:
        own: int | None = getattr(self, attribute)
        if own is not None:
            return own
        context = _cv_app.get(None)
        if context is None:
            own = getattr(RequestBase, attribute[1:])
        else:
            own = context.app.config[key]
        return own

    # -- what the headers say of the body ---------------------------------------------------

    @cached_property
    def content_length(self) -> int | None:
        """The declared length of the body in bytes, ``None`` if it is not known."""
        if self.body is not None and self._single_headers is not None:
            # As it was read from there.
            return self.body.length
        return super().content_length

    @property
    def is_json(self) -> bool:
        """Whether the request says that its body is JSON."""
        if self._reads_plainly and self.header(b"content-type") == _JSON:
            return True
        return super().is_json

    @property
    def want_form_data_parsed(self) -> bool:
        """Whether the request says what its body is."""
        return bool(self.header(b"content-type"))

    def make_form_data_parser(self) -> FormDataParser:
        """Make the parser for this request's form, with its limits."""
        parser = super().make_form_data_parser()
        context = _cv_app.get(None)
        if context is not None and isinstance(parser, FormParser):
            parser.max_form_fields = context.app.config["MAX_FORM_FIELDS"]
            parser.max_form_files = context.app.config["MAX_FORM_FILES"]
        return parser

    def load_plain_form(self) -> bool:
        """Read a urlencoded form as the parser does, where nothing of the user's takes part."""
        context = _cv_app.get(None)
        if (
            context is None
            or not self._reads_plainly
            or self.form_data_parser_class is not FormParser
            or self.header(b"content-type") != _URLENCODED
        ):
            return False
        data = self._cached_data
        if data is None:
            data = self._rest_of_body()
        if data is None:
            data = self.stream.read()
        try:
            max_fields = context.app.config["MAX_FORM_FIELDS"]
            fields = read_urlencoded(data, max_fields, self.max_form_memory_size)
        except ValueError:
            fields = []
        own = self.__dict__
        kind = self.parameter_storage_class
        if kind is ImmutableMultiDict:
            own["form"], own["files"] = _multi_dict(fields), ImmutableMultiDict()
        else:
            own["form"], own["files"] = kind(fields), kind()
        return True

    def _rest_of_body(self) -> bytes | None:
        """Give a body that came as a whole and that nobody has looked at, which is read then."""
        body = self.body
        return None if body is None else body.take_rest()


def _multi_dict(fields: list[tuple[str, str]]) -> ImmutableMultiDict[str, str]:
    """Make what calling the class does, which asks first what it was given."""
    lists: dict[str, list[str]] = {}
    for name, value in fields:
        if name in lists:
            lists[name].append(value)
        else:
            lists[name] = [value]
    made: ImmutableMultiDict[str, str] = ImmutableMultiDict()
    dict.update(made, lists)
    return made
