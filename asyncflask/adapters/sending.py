"""Messages on their way to a client, which may leave meanwhile (ASGI HTTP spec 2.4)."""

from __future__ import annotations

import io
import typing as t

import anyio

from . import wire

if t.TYPE_CHECKING:
    from starlette.types import Message
    from starlette.types import Send

FILE_CHUNK: t.Final = 256 * 1024
"""Bytes of a file that are read in one trip to a thread."""
PLAIN_FILES: t.Final = frozenset({io.BufferedReader, io.BytesIO, io.FileIO})
"""What reads a file and nothing else: it has its bytes at hand, or on disk."""


def whole_messages(
    method: str, status: int, headers: wire.RawHeaders, body: bytes
) -> tuple[Message, Message]:
    """Give what sends a body that is there in one piece, if there may be one at all.

    :raises InvalidHeader: if it is not as long as announced.
    """
    if method == "HEAD" or status in wire.BODILESS:
        wire.declared_length(headers)
        body = b""
    else:
        length = len(body)
        announced = wire.lengths.get(length) or wire.length_header(length)
        if announced not in headers:
            wire.check_length(headers, body)
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


async def send_whole(
    send: Send, method: str, status: int, headers: wire.RawHeaders, body: bytes
) -> None:
    """Send a body that is there in one piece.

    :raises InvalidHeader: if it is not as long as announced; nothing has been sent then.
    """
    start, end = whole_messages(method, status, headers, body)
    try:
        await send(start)
        await send(end)
    except OSError:
        # The client has left, and this server says so (ASGI HTTP spec 2.4).
        return


async def arrives(send: Send, message: Message) -> bool:
    """Send a message and tell whether the client is still there (ASGI HTTP spec 2.4)."""
    try:
        await send(message)
    except OSError:
        return False
    return True


async def while_there(
    client_left: t.Callable[[], t.Awaitable[None]],
    work: t.Callable[[anyio.CancelScope, anyio.CancelScope], t.Awaitable[t.Any]],
) -> None:
    """Await some work, and cancel it when the client leaves.

    :param client_left: returns when it has.
    :param work: gets the scope in which it is cancelled, and the one that is cancelled then, for
        :func:`goes_on`.
    """
    error: BaseException | None = None
    watching = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        group.start_soon(_watch, client_left, watching, group.cancel_scope)
        try:
            with anyio.CancelScope() as scope:
                await work(scope, group.cancel_scope)
        except Exception as exc:
            # Raised outside of the group, which would wrap it. The server aborts the connection.
            error = exc
        watching.cancel()
    if error is not None:
        try:
            raise error
        finally:
            # Its traceback holds this frame.
            del error


async def goes_on(around: anyio.CancelScope) -> bool:
    """Let the watcher look, which a producer and a server that never suspend would keep out.

    :param around: the scope that it cancels.
    :returns: whether the client is there. Servers' own tasks (``granian --task-impl rust``) cannot
        be cancelled, and have to be told.
    """
    await anyio.lowlevel.checkpoint()
    return not around.cancel_called


async def _watch(
    client_left: t.Callable[[], t.Awaitable[None]],
    watching: anyio.CancelScope,
    scope: anyio.CancelScope,
) -> None:
    # A scope of its own: of tasks that are cancelled with their group, the group keeps the error.
    with watching:
        await client_left()
        scope.cancel()
