"""Parsing of forms: Werkzeug's, with limits it does not have."""

from __future__ import annotations

import contextlib
import io
import re
import typing as t

from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data
from werkzeug.sansio.multipart import Epilogue
from werkzeug.sansio.multipart import Event
from werkzeug.sansio.multipart import Field
from werkzeug.sansio.multipart import File
from werkzeug.sansio.multipart import MultipartDecoder
from werkzeug.sansio.multipart import NeedData
from werkzeug.sansio.multipart import State

from ..tolerance import parse_query
from .parts import find_parts
from .parts import MAX_PART_HEADERS
from .parts import Part

MAX_FIELDS: t.Final = 10_000
"""Fields a form may have where no application says otherwise."""
MAX_FILES: t.Final = 100
"""Files on disk a form may have where no application says otherwise."""
_BLOCK: t.Final = 1024 * 1024
"""Bytes that are read at a time: they take longer than 5 ms to parse."""
_CHUNK: t.Final = 64 * 1024
# Bytes of a file above which Werkzeug puts it on disk.
_IN_MEMORY: t.Final = 500 * 1024

# With it an escape of any byte becomes b"%00": counted thus, long fields stop nobody for long.
_ALIKE: t.Final = bytes.maketrans(b"0123456789ABCDEFabcdef", b"0" * 22)
# A parameter of a header (RFC 9110, section 5.6.6), so that quoted ones are passed over as a whole.
_parameter: t.Final = re.compile(r';[ \t]*([^\s;="]+)=("(?:[^"\\]|\\.)*"|[^;]*)')


class FormParser(FormDataParser):
    """Werkzeug's parser with limits on urlencoded forms, on part headers and on files as well."""

    max_form_fields: int | None = MAX_FIELDS
    max_form_files: int | None = MAX_FILES

    def _parse_urlencoded(
        self,
        stream: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> t.Any:
        fields = read_urlencoded(stream.read(), self.max_form_fields, self.max_form_memory_size)
        return stream, self.cls(fields), self.cls()

    def _parse_multipart(
        self,
        stream: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> t.Any:
        boundary = options.get("boundary", "").encode("ascii")
        if not boundary:
            raise ValueError("A multipart form has a 'boundary' in its Content-Type.")
        with contextlib.ExitStack() as opened:
            parts = _Parts(self, content_length, opened, self.max_form_files)
            if not self._take_whole(stream, boundary, parts):
                limit = self.max_form_memory_size
                decoder = _Decoder(boundary, limit, max_parts=self.max_form_parts)
                for event in _events(decoder, stream):
                    parts.take(event)
            # Only if the form is whole does somebody get to see its files, and close them.
            opened.pop_all()
        return stream, self.cls(parts.fields), self.cls(parts.files)

    def _take_whole(self, stream: t.IO[bytes], boundary: bytes, parts: _Parts) -> bool:
        """Take in the parts of a form that is in memory, and tell whether it was so simple."""
        if type(stream) is not io.BytesIO:
            return False
        start = stream.tell()
        data = stream.read()
        most = self.max_form_memory_size
        # Within these nothing of it can be too large, whatever it is.
        if len(data) <= _IN_MEMORY and (most is None or len(data) <= most):
            found = find_parts(data, boundary, self.max_form_parts)
            if found is not None:
                for part in found:
                    parts.take_whole(part, data)
                return True
        stream.seek(start)
        return False


def read_urlencoded(
    data: bytes, max_fields: int | None, max_size: int | None
) -> list[tuple[str, str]]:
    """Read the fields of a urlencoded form.

    :param max_fields: how many it may have.
    :param max_size: bytes that each of them may have, its name included.
    :raises RequestEntityTooLarge: if there are more, or longer ones.
    :raises ValueError: if it is not UTF-8.
    """
    if max_fields is not None and data.count(b"&") >= max_fields:
        raise RequestEntityTooLarge()
    if max_size is not None and len(data) > max_size and _has_longer_field(data, max_size):
        raise RequestEntityTooLarge()
    return parse_query(data.decode())


def _has_longer_field(data: bytes, size: int) -> bool:
    """Tell whether a field of a urlencoded form, its name included, has more than *size* bytes."""
    return any(
        len(field) > 3 * size or len(field) - 2 * field.translate(_ALIKE).count(b"%00") > size
        for field in data.split(b"&")
        if len(field) > size
    )


def _events(decoder: MultipartDecoder, stream: t.IO[bytes]) -> t.Iterator[Event]:
    """Give what a multipart form consists of."""
    for chunk in _chunks(stream):
        decoder.receive_data(chunk)
        while not isinstance(event := decoder.next_event(), NeedData):
            yield event
            if isinstance(event, Epilogue):
                return


def _chunks(stream: t.IO[bytes]) -> t.Iterator[bytes | None]:
    """Give a stream in pieces, and ``None`` at its end."""
    # A thread that lets the interpreter's lock go often, and each time for a moment only, keeps the
    # event loop from ever getting it: it would have to wait for 5 ms without a break to demand it.
    while block := stream.read(_BLOCK):
        for start in range(0, len(block), _CHUNK):
            yield block[start : start + _CHUNK]
    yield None


class _Boundary:
    """Werkzeug's pattern of a boundary, searched from the first place where one may be.

    :param pattern: begins with a line break of one or two bytes, and then *text*.
    """

    def __init__(self, pattern: re.Pattern[bytes], text: bytes) -> None:
        self._pattern = pattern
        self._text = text

    def search(self, data: bytearray) -> re.Match[bytes] | None:
        start = data.find(self._text)
        return None if start < 0 else self._pattern.search(data, max(0, start - 2))


class _Decoder(MultipartDecoder):
    """Werkzeug's, with a limit on the headers of a part, and a faster look for its end."""

    def __init__(self, boundary: bytes, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(boundary, *args, **kwargs)
        self.boundary_re: t.Any = _Boundary(self.boundary_re, b"--" + boundary)

    def next_event(self) -> Event:
        in_headers, size = self.state is State.PART, len(self.buffer)
        event = super().next_event()
        if in_headers:
            left = 0 if isinstance(event, NeedData) else len(self.buffer)
            if size - left > MAX_PART_HEADERS:
                raise RequestEntityTooLarge()
        return event


class _Parts(MultiPartParser):
    """Collects the fields and files of a multipart form.

    :param parser: says where files go.
    :param length: the declared length of the form.
    :param opened: takes the files in, to close them.
    :param max_files: how many files may be on disk, each with a descriptor of the process's few.
    """

    def __init__(
        self,
        parser: FormDataParser,
        length: int | None,
        opened: contextlib.ExitStack,
        max_files: int | None,
    ) -> None:
        super().__init__(parser.stream_factory, parser.max_form_memory_size)
        self.fields: list[tuple[str, str]] = []
        self.files: list[tuple[str, FileStorage]] = []
        self._length = length
        self._opened = opened
        self._part: Field | File
        self._content: t.IO[bytes]
        self._room: int | None = None
        self._size = 0
        self._files_left = max_files

    def take(self, event: Event) -> None:
        """Take in what comes next.

        :raises RequestEntityTooLarge: if a field is too long, or there are too many files on disk.
        """
        if isinstance(event, Data):
            self._take_data(event)
        elif isinstance(event, Field):
            self._part, self._content, self._room = event, io.BytesIO(), self.max_form_memory_size
        elif isinstance(event, File):
            self._part, self._room, self._size = event, None, 0
            self._content = self.start_file_streaming(event, self._length)
            self._opened.callback(self._content.close)

    def take_whole(self, part: Part, data: bytes) -> None:
        """Take in a part of a form that is within all limits.

        :param data: the form.
        """
        name, filename, headers, known, start, end = part
        if filename is None:
            charset = self.get_part_charset(headers) if "content-type" in known else "utf-8"
            self.fields.append((name, data[start:end].decode(charset, "replace")))
            return
        if "content-length" in known:
            content = self.start_file_streaming(File(name, filename, headers), self._length)
        else:
            content = self.stream_factory(
                total_content_length=self._length,
                filename=filename,
                content_type=known.get("content-type"),
                content_length=0,
            )
        self._opened.callback(content.close)
        content.write(data[start:end])
        content.seek(0)
        self.files.append((name, FileStorage(content, filename, name, headers=headers)))

    def _take_data(self, event: Data) -> None:
        if isinstance(self._part, File):
            self._count_file(len(event.data))
        self._content.write(event.data)
        if self._room is not None and self._content.tell() > self._room:
            raise RequestEntityTooLarge()
        if event.more_data:
            return
        self._content.seek(0)
        part, name = self._part, _plain_name(self._part)
        if isinstance(part, File):
            file = FileStorage(self._content, part.filename, name, headers=part.headers)
            self.files.append((name, file))
        else:
            charset = self.get_part_charset(part.headers)
            self.fields.append((name, self._content.read().decode(charset, "replace")))

    def _count_file(self, size: int) -> None:
        """Note that a file becomes longer, before it goes to disk for that."""
        was_in_memory = self._size <= _IN_MEMORY
        self._size += size
        if self._files_left is None or not was_in_memory or self._size <= _IN_MEMORY:
            return
        if not self._files_left:
            raise RequestEntityTooLarge()
        self._files_left -= 1


def _plain_name(part: Field | File) -> str:
    """Give the name of a part: its plain one where a ``name*`` stands beside it.

    Whoever looks at forms on their way, a firewall say, knows no other (RFC 7578, section 4.2).
    """
    disposition = part.headers["content-disposition"]
    if "*" not in disposition:
        return part.name
    plain = _parameter.sub(lambda m: "" if m[1].lower().startswith("name*") else m[0], disposition)
    name: str | None = parse_options_header(plain)[1].get("name")
    return part.name if name is None else name
