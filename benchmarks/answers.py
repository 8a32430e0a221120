"""What a client sends and expects, in process and over HTTP alike."""

from __future__ import annotations

import json
import typing as t

from .workloads import Workload

#: What a browser sends with each request.
CLIENT_HEADERS = {
    "Host": "127.0.0.1:8000",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
}
SHOWN = 200


class Answer(t.NamedTuple):
    """What an application has answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def request_headers(workload: Workload, cookie: str) -> dict[str, str]:
    """List the headers of a request."""
    headers = {**CLIENT_HEADERS, **workload.headers}
    if workload.body:
        headers["Content-Length"] = str(len(workload.body))
    if cookie:
        headers["Cookie"] = cookie
    return headers


def cookie_of(answer: Answer) -> str:
    """Find the cookie that an answer sets, as it is sent back.

    :raises RuntimeError: there is none.
    """
    for name, text in answer.headers:
        if name.lower() == "set-cookie":
            return text.partition(";")[0]
    raise RuntimeError(f"no cookie in {answer.headers!r}")


def check_answer(name: str, workload: Workload, answer: Answer) -> None:
    """Make sure that what will be measured is the answer and no error page.

    :raises RuntimeError: it is not.
    """
    headers = {(key.lower(), text) for key, text in answer.headers}
    right = (
        answer.status == 200
        and same_body(workload, answer.body)
        and set(workload.answer_headers.items()) <= headers
        and (not workload.session or any(key == "set-cookie" for key, _ in headers))
    )
    if not right:
        raise RuntimeError(
            f"{name} answers {workload.name!r} with {answer.status!r}, {answer.headers!r} and "
            f"{len(answer.body)} bytes, {answer.body[:SHOWN]!r}"
        )


def same_body(workload: Workload, body: bytes) -> bool:
    """Compare a body with the expected one; frameworks set spaces in JSON differently."""
    if isinstance(workload.expected, bytes):
        return body == workload.expected
    try:
        return bool(json.loads(body) == workload.expected)
    except ValueError:
        return False
