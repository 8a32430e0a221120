"""Requests as bytes, and answers from bytes: a client's HTTP/1.1 without input and output."""

from __future__ import annotations

from .answers import Answer
from .answers import request_headers
from .workloads import Workload

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def format_request(workload: Workload, cookie: str) -> bytes:
    """Format a request as a browser's."""
    headers = request_headers(workload, cookie)
    lines = [f"{workload.method} {workload.path} HTTP/1.1"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + workload.body


class AnswerReader:
    """Reads one answer after the other; the next one is asked for once there is one."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: Answer | None = None
        self._start = 0
        self._length: int | None = None

    def feed(self, data: bytes) -> Answer | None:
        """Take what has arrived, and give the answer once it is complete.

        :raises ValueError: it is no answer, or more has arrived than belongs to it.
        """
        self._received += data
        if self._answer is None and not self._read_head():
            return None
        body = self._read_body()
        if body is None or self._answer is None:
            return None
        answer = self._answer._replace(body=body)
        self._received.clear()
        self._answer = None
        return answer

    def _read_head(self) -> bool:
        head, mark, _ = self._received.partition(HEAD_END)
        if not mark:
            return False
        version_and_status, *lines = head.decode("latin-1").split("\r\n")
        _, status, *_ = f"{version_and_status}  ".split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = [(name.lower(), text.strip()) for name, _, text in pairs]
        length = dict(headers).get("content-length")
        self._answer = Answer(int(status), headers, b"")
        self._start = len(head) + len(mark)
        self._length = None if length is None else int(length)
        return True

    def _read_body(self) -> bytes | None:
        if self._length is None:
            # No chunk that the applications send ends like this, so there is no need to look
            # through all of them each time something arrives.
            done = self._received.endswith(LAST_CHUNK)
            return join_chunks(bytes(self._received[self._start :])) if done else None
        missing = self._start + self._length - len(self._received)
        if missing < 0:
            raise ValueError(f"{-missing} bytes after the answer")
        return bytes(self._received[self._start :]) if missing == 0 else None


def join_chunks(encoded: bytes) -> bytes:
    """Decode a chunked body."""
    chunks: list[bytes] = []
    position = 0
    while True:
        line_end = encoded.index(b"\r\n", position)
        size = int(encoded[position:line_end], 16)
        if size == 0:
            return b"".join(chunks)
        chunks.append(encoded[line_end + 2 : line_end + 2 + size])
        position = line_end + 2 + size + 2
