"""``Headers``: Werkzeug's, for responses, with a shorter way to set a header."""

from __future__ import annotations

import typing as t

import werkzeug.datastructures


class Headers(werkzeug.datastructures.Headers):
    """Werkzeug's headers, for a response that hooks add to."""

    @classmethod
    def of_checked(cls, pairs: list[tuple[str, str]]) -> t.Self:
        """Make headers of pairs that need no check; the list becomes theirs."""
        headers = cls.__new__(cls)
        headers._list = pairs
        return headers

    def __setitem__(self, key: t.Any, value: t.Any) -> None:
        """Set a header, replacing any of its name; by index or slice as in a list."""
        # What is printable has no line break, which is what set() looks for.
        if type(key) is str and type(value) is str and value.isprintable():
            name = key.lower()
            for present, _ in self._list:
                if present.lower() == name:
                    break
            else:
                self._list.append((key, value))
                return
        super().__setitem__(key, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, werkzeug.datastructures.Headers):
            return NotImplemented
        plain = werkzeug.datastructures.Headers
        return plain(list(self)) == plain(list(other))

    __hash__ = None
