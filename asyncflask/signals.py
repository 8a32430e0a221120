"""The signals an application sends; any receiver may be a coroutine function."""

from __future__ import annotations

import typing as t

from blinker import NamedSignal
from blinker import Namespace as Namespace

# Kept apart from blinker's default namespace, so that no extension's signal meets one of these.
_signals = Namespace()

heard: t.Final[set[str]] = set()
"""The names of those signals below that ever had a receiver. As long as there is none, a request
need not ask each of them."""


class _Receivers(dict[t.Any, t.Any]):
    """The receivers of a signal, where it is noted that there are any."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __setitem__(self, key: t.Any, receiver: t.Any) -> None:
        heard.add(self._name)
        super().__setitem__(key, receiver)


def _make_signal(name: str) -> NamedSignal:
    signal = _signals.signal(name)
    signal.receivers = _Receivers(name)
    return signal


template_rendered = _make_signal("template-rendered")
before_render_template = _make_signal("before-render-template")
request_started = _make_signal("request-started")
request_finished = _make_signal("request-finished")
request_tearing_down = _make_signal("request-tearing-down")
got_request_exception = _make_signal("got-request-exception")
appcontext_tearing_down = _make_signal("appcontext-tearing-down")
appcontext_pushed = _make_signal("appcontext-pushed")
appcontext_popped = _make_signal("appcontext-popped")
message_flashed = _make_signal("message-flashed")
