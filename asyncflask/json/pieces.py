"""Reading long JSON in pieces, so that other threads run in between.

The C code of :mod:`json` keeps every other thread from running until it has read the whole text,
the one with the event loop too, whichever thread calls it. It is given as many neighbours of a
long array or object at a time as it reads within a few milliseconds. Where they end is guessed:
at what stands between the two before. If the C code can read them, they do.
"""

from __future__ import annotations

import json
import sys
import typing as t
from json.decoder import scanstring  # type: ignore[attr-defined]
from json.decoder import WHITESPACE  # type: ignore[attr-defined]

LONG: t.Final = 256 * 1024
"""Characters, or bytes, of a text above which it is read in pieces."""
_PIECE: t.Final = 128 * 1024
"""Characters that are given to the C code at a time, at most."""
_ALONE: t.Final = 16 * 1024
"""Characters that a single value may have to be given to it as a whole."""
_SHORT: t.Final = 256
"""Characters that are tried first, since they are copied; the next try takes four times more."""
_LEVELS: t.Final = 10
"""Levels of nesting at which it is tried; each may look at pieces in vain, which has to end."""

_Scan: t.TypeAlias = t.Callable[[str, int], tuple[t.Any, int]]
_scan_whole: t.Final[_Scan] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


class _Decoder(json.JSONDecoder):
    def __init__(self, **options: t.Any) -> None:
        super().__init__(**options)
        self.scan_once = _scanner(_LEVELS)


def loads(text: str | bytes) -> t.Any:
    """Read a value from a long JSON text.

    :raises ValueError: if it is not valid JSON.
    :raises RecursionError: if it is nested too deep.
    """
    return json.loads(text, cls=_Decoder)


def loads_short(text: str) -> t.Any:
    """Read a value as :func:`json.loads` does, sooner where nothing is around it.

    :raises ValueError: if it is not valid JSON.
    :raises RecursionError: if it is nested too deep.
    """
    try:
        value, end = _scan_whole(text, 0)
    except StopIteration:
        end = -1
    return value if end == len(text) else json.loads(text)


def _scanner(levels: int) -> _Scan:
    """Make a function that reads a value of a text, and gives it with its end."""
    deeper = _scanner(levels - 1) if levels else _scan_whole

    def scan(text: str, start: int) -> tuple[t.Any, int]:
        if text[start : start + 1] not in ("[", "{"):
            return _scan_whole(text, start)
        size = _SHORT
        while size <= _ALONE:
            try:
                # Whatever is whole in a piece has its closing bracket there.
                value, length = _scan_whole(text[start : start + size], 0)
                return value, start + length
            except (ValueError, StopIteration):
                size *= 4
        # It is longer, or no JSON: its parts tell.
        return _Long(text, start).read(deeper)

    return scan


class _Long:
    """An array or object of a text that is too long for the C code.

    :param start: where its opening bracket is.
    """

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._is_object = text[start] == "{"
        self._brackets = "{}" if self._is_object else "[]"
        self._items: list[t.Any] = []
        self._members: dict[str, t.Any] = {}
        self._position = _skip_space(text, start + 1)
        # Pieces begin small, as one that cannot be read was looked at in vain.
        self._size = 4 * _SHORT
        self._next_try = 0

    def read(self, deeper: _Scan) -> tuple[t.Any, int]:
        """Read it, and give its end."""
        text, closing = self._text, self._brackets[1]
        value = self._members if self._is_object else self._items
        if text[self._position : self._position + 1] == closing:
            return value, self._position + 1
        while True:
            end = self._read_one(deeper)
            comma = _skip_space(text, end)
            found = text[comma : comma + 1]
            if found == closing:
                return value, comma + 1
            if found != ",":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, comma)
            self._position = _skip_space(text, comma + 1)
            if self._position >= self._next_try:
                self._read_more(end)

    def _read_one(self, deeper: _Scan) -> int:
        """Read what comes next, and give its end."""
        text, position, key = self._text, self._position, ""
        if sys.version_info >= (3, 13) and text[position : position + 1] == self._brackets[1]:
            kind = "object" if self._is_object else "array"
            message = f"Illegal trailing comma before end of {kind}"
            raise json.JSONDecodeError(message, text, text.rindex(",", 0, position))
        if self._is_object:
            if text[position : position + 1] != '"':
                message = "Expecting property name enclosed in double quotes"
                raise json.JSONDecodeError(message, text, position)
            key, colon = scanstring(text, position + 1, True)
            colon = _skip_space(text, colon)
            if text[colon : colon + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, colon)
            position = _skip_space(text, colon + 1)
        try:
            value, end = deeper(text, position)
        except StopIteration as stop:
            raise json.JSONDecodeError("Expecting value", text, stop.value) from None
        if self._is_object:
            self._members[key] = value
        else:
            self._items.append(value)
        return end

    def _read_more(self, end: int) -> None:
        """Read what comes next in large pieces, as far as that goes.

        :param end: that of the part before.
        """
        text, start = self._text, self._position
        last = text[end - 1] if text[end - 1] in '"]}' else ""
        first = text[start] if text[start : start + 1] in ('"', "[", "{") else ""
        between = last + text[end:start] + first
        while self._read_piece(between, len(last), len(first)):
            self._size = min(4 * self._size, _PIECE)
        self._next_try = self._position + self._size
        self._size = max(self._size // 4, _SHORT)

    def _read_piece(self, between: str, last: int, first: int) -> bool:
        """Read as many parts as one piece has, and tell whether there were any.

        :param between: what stands between two parts, with the characters around it.
        :param last: how many of these belong to the one before.
        :param first: how many belong to the one behind.
        """
        start = self._position
        found = self._text.rfind(between, start, start + self._size)
        if found < 0:
            return False
        piece = self._brackets[0] + self._text[start : found + last] + self._brackets[1]
        try:
            parts, length = _scan_whole(piece, 0)
        except (ValueError, StopIteration):
            return False
        if length != len(piece) or not parts:
            return False
        if self._is_object:
            self._members.update(parts)
        else:
            self._items += parts
        self._position = _skip_space(self._text, found + len(between) - first)
        return True


def _skip_space(text: str, position: int) -> int:
    return t.cast(int, WHITESPACE.match(text, position).end())
