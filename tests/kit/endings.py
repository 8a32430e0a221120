"""How requests end: by themselves, and with streams."""

from __future__ import annotations

import asyncio
import contextlib
import typing as t

import asyncflask

from .torn import Problem
from .torn import Torn


def fail(*args: t.Any) -> t.NoReturn:
    raise Problem("a problem")


def ok(torn: Torn) -> None:
    torn.view(lambda: "ok")


def aborts(torn: Torn) -> None:
    torn.view(lambda: torn.framework.abort(418))


def raises(torn: Torn) -> None:
    torn.view(fail)


def redirects(torn: Torn) -> None:
    torn.view(lambda: torn.framework.redirect("/elsewhere"))


def before_returns(torn: Torn) -> None:
    torn.bp.before_request(torn.step("before", lambda: "early"))
    torn.view(fail)


def before_raises(torn: Torn) -> None:
    torn.bp.before_request(torn.step("before", fail))
    torn.view(fail)


def after_raises(torn: Torn) -> None:
    torn.bp.after_request(torn.step("after", fail))
    torn.view(lambda: "ok")


def handler_answers(torn: Torn) -> None:
    torn.app.register_error_handler(Problem, torn.step("handler", lambda error: ("sorry", 400)))
    torn.view(fail)


def handler_raises(torn: Torn) -> None:
    torn.app.register_error_handler(Problem, torn.step("handler", fail))
    torn.view(fail)


def handler_of_errors_raises(torn: Torn) -> None:
    torn.app.register_error_handler(500, torn.step("handler", fail))
    torn.view(fail)


def returns_nonsense(torn: Torn) -> None:
    torn.view(lambda: None)


#: What is done, the status of the answer (0 for none) and what the teardown functions are told.
ENDS: list[tuple[t.Callable[[Torn], None], int, type[BaseException] | None]] = [
    (ok, 200, None),
    (aborts, 418, None),
    (redirects, 302, None),
    (raises, 500, Problem),
    (before_returns, 200, None),
    (before_raises, 500, Problem),
    (after_raises, 500, Problem),
    (handler_answers, 400, None),
    (handler_raises, 500, Problem),
    (handler_of_errors_raises, 0, Problem),
    (returns_nonsense, 500, TypeError),
]


# -- streams ------------------------------------------------------------------------------------


def streaming(torn: Torn, colour: str, kept: bool, fails_at: int = -1) -> None:
    """Have the view give a stream of three chunks."""

    def chunks() -> t.Iterator[str]:
        if kept and torn.framework is not asyncflask:
            # Flask tears a request down before its stream, and once more after it.
            torn.begin_anew()
        torn.log.append(("stream", "begins"))
        try:
            for number in range(3):
                if number == fails_at:
                    raise Problem("a problem")
                # Large enough not to be sent together with the next.
                yield "chunk" * 2**14
        finally:
            torn.log.append(("stream", "ends"))

    async def async_chunks() -> t.AsyncIterator[str]:
        with contextlib.closing(chunks()) as source:
            for chunk in source:
                try:
                    await asyncio.sleep(0)
                    yield chunk
                finally:
                    # Whoever is interrupted cleans up in peace.
                    await asyncio.sleep(0)

    def view() -> t.Any:
        stream = chunks() if colour == "sync" else async_chunks()
        kept_stream = torn.framework.stream_with_context(stream) if kept else stream
        return torn.framework.Response(kept_stream)

    torn.view(view)


def check_stream(torn: Torn, kept: bool, *told: type[BaseException] | None) -> None:
    """Assert that a stream with context was torn down after its end, others before their begin."""
    if not kept:
        streams = [index for index, (name, _) in enumerate(torn.log) if name == "stream"]
        assert streams in ([], [len(torn.log) - 2, len(torn.log) - 1]), torn.log
        torn.log = [entry for entry in torn.log if entry[0] != "stream"]
    torn.check(told if kept else (None,))
