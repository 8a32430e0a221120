"""The parts of a multipart form that is here as a whole, where it is written as clients write it.

Whatever else a form may be (RFC 7578, RFC 2046) is for the parser to judge, which looks at every
byte more than once.
"""

from __future__ import annotations

import re
import typing as t

from werkzeug.datastructures import Headers

MAX_PART_HEADERS: t.Final = 8 * 1024
"""Bytes that the headers of a part may have."""

# Values that stand for themselves: nothing is escaped, and nothing is encoded.
_disposition: t.Final = re.compile(
    r'form-data; name="([^"\\%*\x00-\x1f]*)"(?:; filename="([^"\\%*\x00-\x1f]*)")?'
).fullmatch


class Part(t.NamedTuple):
    """A field, or a file if it has a filename, and where its content is."""

    name: str
    filename: str | None
    headers: Headers
    known: dict[str, str]
    """What the headers have by their names in lower case; looking there costs what is not there."""
    start: int
    end: int


def find_parts(data: bytes, boundary: bytes, max_parts: int | None) -> list[Part] | None:
    """Find the parts of a form; ``None`` if it is for the parser to tell what they are.

    :param max_parts: how many it may have.
    """
    mark = b"--" + boundary
    parts: list[Part] = []
    position = len(mark) if data.startswith(mark) else len(data)
    while data[position : position + 2] == b"\r\n":
        part = _find_part(data, position + 2, mark)
        if part is None or len(parts) == max_parts:
            return None
        parts.append(part)
        position = part.end + 2 + len(mark)
    return parts if data[position : position + 2] == b"--" else None


def _find_part(data: bytes, start: int, mark: bytes) -> Part | None:
    blank = data.find(b"\r\n\r\n", start, start + MAX_PART_HEADERS - 4)
    end = -1 if blank < 0 else data.find(mark, blank + 4) - 2
    # The first place with the text of a boundary has to be one.
    if end < blank + 4 or data[end : end + 2] != b"\r\n":
        return None
    headers = Headers()
    known: dict[str, str] = {}
    try:
        lines = data[start:blank].decode().split("\r\n")
    except UnicodeDecodeError:
        return None
    for line in lines:
        if not line or line[0] in " \t" or "\r" in line or "\n" in line:
            return None
        name, _, value = line.partition(":")
        name, value = name.strip(" \t"), value.strip(" \t")
        headers._list.append((name, value))
        known.setdefault(name.lower(), value)
    found = _disposition(known.get("content-disposition", ""))
    return None if found is None else Part(found[1], found[2], headers, known, blank + 4, end)
