"""Parsing of forms: Werkzeug's, with a limit it does not have."""

from __future__ import annotations

import io
import typing as t

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

MAX_FIELDS: t.Final = 10_000
"""Fields a form may have where no application says otherwise."""


class FormParser(FormDataParser):
    """Werkzeug's parser with a limit on the fields of urlencoded forms as well."""

    max_form_fields: int | None = MAX_FIELDS

    def _parse_urlencoded(
        self,
        stream: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> t.Any:
        data = stream.read()
        if self.max_form_fields is not None and data.count(b"&") >= self.max_form_fields:
            raise RequestEntityTooLarge()
        return super()._parse_urlencoded(io.BytesIO(data), mimetype, content_length, options)

    def _parse_multipart(
        self,
        stream: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> t.Any:
        factory = self.stream_factory
        files: list[t.IO[bytes]] = []

        def make_file(*args: t.Any, **kwargs: t.Any) -> t.IO[bytes]:
            files.append(factory(*args, **kwargs))
            return files[-1]

        self.stream_factory = t.cast(t.Any, make_file)
        try:
            return super()._parse_multipart(stream, mimetype, content_length, options)
        except BaseException:
            # Nobody gets to see the files that were complete, and so nobody closes them.
            for file in files:
                file.close()
            raise
        finally:
            self.stream_factory = factory
