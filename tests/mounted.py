"""WSGI applications for the tests of the adapter that runs them under ASGI."""

from __future__ import annotations

import threading
import typing as t

PLAIN = [("Content-Type", "text/plain")]


def respond(
    result: t.Any, headers: t.Sequence[tuple[str, str]] = (), status: str = "200 OK"
) -> t.Any:
    """Make an application that answers with *result*, or what that gives when it is called."""

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response(status, [*PLAIN, *headers])
        return result() if callable(result) else result

    return app


def seen_environ(answers: list[t.Any]) -> t.Any:
    """Make an application that keeps its environs."""

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        answers.append(dict(environ))
        start_response("200 OK", PLAIN)
        return [b"seen"]

    return app


class Closing:
    """An iterable that counts how often it is closed, and tells when."""

    def __init__(self, chunks: t.Iterable[t.Any]) -> None:
        self._chunks = iter(chunks)
        self.taken = 0
        self.closed = 0
        self.threads: list[int] = []

    def __iter__(self) -> t.Self:
        return self

    def __next__(self) -> t.Any:
        self.threads.append(threading.get_ident())
        chunk = next(self._chunks)
        self.taken += 1
        return chunk

    def close(self) -> None:
        self.threads.append(threading.get_ident())
        self.closed += 1


def endless(chunk: bytes = b"x" * 1000) -> t.Iterator[bytes]:
    while True:
        yield chunk
