"""Reading long JSON in pieces, so that other threads run in between.

The C code of :mod:`json` keeps every other thread from running until it has read the whole text,
the one with the event loop too, whichever thread calls it.
"""

from __future__ import annotations

import json
import typing as t
from json.decoder import JSONArray  # type: ignore[attr-defined]
from json.decoder import JSONObject  # type: ignore[attr-defined]

LONG: t.Final = 256 * 1024
"""Characters, or bytes, of a text above which it is read in pieces."""
_PIECE: t.Final = 16 * 1024
"""Characters that are given to the C code at a time, at most."""
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
        kind = text[start : start + 1]
        if kind not in ("[", "{"):
            return _scan_whole(text, start)
        size = _SHORT
        while size <= _PIECE:
            try:
                # Whatever is whole in a piece has its closing bracket there.
                value, length = _scan_whole(text[start : start + size], 0)
                return value, start + length
            except (ValueError, StopIteration):
                size *= 4
        # It is longer, or no JSON: one by one its parts tell.
        parsed = (
            JSONArray((text, start + 1), deeper)
            if kind == "["
            else JSONObject((text, start + 1), True, deeper, None, None)
        )
        return t.cast("tuple[t.Any, int]", parsed)

    return scan
