"""The signals an application sends; any receiver may be a coroutine function."""

from __future__ import annotations

import typing as t

from blinker import NamedSignal
from blinker import Namespace as Namespace

F = t.TypeVar("F", bound=t.Callable[..., t.Any])

heard: t.Final[set[NamedSignal]] = set()
"""Those of the signals below that ever had a receiver. As long as there is none, a request need
not ask each of them."""


class _Signal(NamedSignal):
    """A signal that takes note of its first receiver."""

    def connect(self, receiver: F, sender: t.Any = NamedSignal.ANY, weak: bool = True) -> F:
        """Call a receiver each time the signal is sent, as blinker's signals do.

        :param receiver: called with the sender and what is sent along.
        :param sender: the only sender it is called for; by default there may be any.
        :param weak: whether the signal does not keep the receiver alive.
        """
        heard.add(self)
        return super().connect(receiver, sender, weak)


template_rendered = _Signal("template-rendered")
before_render_template = _Signal("before-render-template")
request_started = _Signal("request-started")
request_finished = _Signal("request-finished")
request_tearing_down = _Signal("request-tearing-down")
got_request_exception = _Signal("got-request-exception")
appcontext_tearing_down = _Signal("appcontext-tearing-down")
appcontext_pushed = _Signal("appcontext-pushed")
appcontext_popped = _Signal("appcontext-popped")
message_flashed = _Signal("message-flashed")
