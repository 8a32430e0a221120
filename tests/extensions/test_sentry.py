"""Sentry's Flask integration, without a network: a transport keeps what would be sent."""

from __future__ import annotations

import asyncio
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import sentry_sdk
from flask import Flask
from flask import render_template_string
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.transport import Transport

EXTENSION = "sentry-sdk"
NOTES = "Requests take a thread under ASGI, too."

TRACE = "771a43a4192642f0b136d5159a501700"
Sent = list[dict[str, t.Any]]


class Keep(Transport):
    """Keeps the events of all envelopes."""

    sent: t.ClassVar[Sent] = []

    def capture_envelope(self, envelope: t.Any) -> None:
        self.sent += [item.payload.json for item in envelope.items]


@pytest.fixture
def sent() -> t.Iterator[Sent]:
    Keep.sent = []
    sentry_sdk.init(
        dsn="http://key@localhost/1",
        transport=Keep,
        traces_sample_rate=1.0,
        data_collection={},
        integrations=[FlaskIntegration()],
    )
    yield Keep.sent
    sentry_sdk.get_client().close()
    sentry_sdk.init()


@pytest.fixture
def app(app: Flask, painted: t.Any, sent: Sent) -> Flask:
    app.testing = False

    @app.route("/divide/<int:by>", methods=["GET", "POST"])
    @painted
    def divide(by: int) -> str:
        sentry_sdk.set_tag("divided by", by)
        with sentry_sdk.start_span(name="division"):
            return str(1 // by)

    @app.get("/page")
    @painted
    def page() -> str:
        return render_template_string("{{ sentry_trace_meta }}")

    @app.get("/note")
    @painted
    def note() -> str:
        sentry_sdk.capture_message("noted")
        return ""

    return app


def events(sent: Sent, kind: str | None = None) -> Sent:
    return [event for event in sent if event.get("type") == kind]


def test_an_error_is_captured_with_its_request(client: t.Any, sent: Sent) -> None:
    client.set_cookie("flavour", "oat")
    answer = client.post("/divide/0?why=1", json={"a": 1}, headers={"X-A": "b"})
    assert answer.status_code == 500
    (event,) = events(sent)
    (error,) = event["exception"]["values"]
    assert error["type"] == "ZeroDivisionError"
    assert error["mechanism"] == {"type": "flask", "handled": False}
    assert event["transaction"] == "divide"
    request = event["request"]
    assert (request["method"], request["url"]) == ("POST", "http://localhost/divide/0")
    assert (request["query_string"], request["data"]) == ("why=1", {"a": 1})
    assert request["cookies"] == {"flavour": "oat"} and request["headers"]["X-A"] == "b"


def test_the_frame_that_failed_is_in_the_event(client: t.Any, sent: Sent) -> None:
    client.get("/divide/0")
    (event,) = events(sent)
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    assert (frames[-1]["function"], frames[-1]["vars"]["by"]) == ("divide", "0")


def test_a_request_is_a_transaction_with_its_spans(client: t.Any, sent: Sent) -> None:
    assert client.post("/divide/1", json={"a": 1}).text == "1"
    (event,) = events(sent, "transaction")
    assert (event["transaction"], event["transaction_info"]) == ("divide", {"source": "component"})
    context = event["contexts"]["trace"]
    assert (context["op"], context["status"]) == ("http.server", "ok")
    assert event["contexts"]["response"] == {"status_code": 200}
    assert event["request"]["data"] == {"a": 1}
    (span,) = event["spans"]
    assert (span["description"], span["parent_span_id"]) == ("division", context["span_id"])


def test_an_error_and_its_transaction_are_one_trace(client: t.Any, sent: Sent) -> None:
    client.get("/divide/0", headers={"sentry-trace": f"{TRACE}-aa43a4192642f0b1-1"})
    (error,), (transaction,) = events(sent), events(sent, "transaction")
    assert transaction["contexts"]["trace"]["status"] == "internal_error"
    traces = {event["contexts"]["trace"]["trace_id"] for event in (error, transaction)}
    assert traces == {TRACE}


def test_what_one_request_tags_is_not_on_the_next(client: t.Any, sent: Sent) -> None:
    client.get("/divide/1")
    client.get("/note")
    (event,) = events(sent)
    assert event["message"] == "noted" and "divided by" not in event.get("tags", {})
    assert event["request"]["url"] == "http://localhost/note"


def test_requests_at_the_same_time_do_not_mix(
    app: Flask, way: tuple[str, str], sent: Sent
) -> None:
    barrier, both, inside = threading.Barrier(2, timeout=10), asyncio.Event(), set()

    def view(name: str) -> str:
        sentry_sdk.set_tag("name", name)
        barrier.wait()
        raise LookupError(name)

    async def view_async(name: str) -> str:
        sentry_sdk.set_tag("name", name)
        inside.add(name)
        if len(inside) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 10)
        raise LookupError(name)

    app.add_url_rule("/meet/<name>", view_func=view if way[1] == "def" else view_async)
    with ThreadPoolExecutor(2) as pool:
        clients = [app.test_client(transport=way[0]) for _ in range(2)]  # type: ignore[call-arg]
        list(pool.map(lambda client, name: client.get(f"/meet/{name}"), clients, "ab"))
    for event in events(sent):
        name = event["exception"]["values"][0]["value"]
        assert event["tags"]["name"] == name and event["request"]["url"].endswith(f"/meet/{name}")
    assert len(events(sent)) == 2


def test_responses_that_are_no_crash_are_no_errors(client: t.Any, sent: Sent) -> None:
    assert client.get("/nothing").status_code == 404
    assert events(sent) == []


def test_templates_can_hand_the_trace_to_the_browser(client: t.Any, sent: Sent) -> None:
    page = client.get("/page").text
    (event,) = events(sent, "transaction")
    assert f'content="{event["contexts"]["trace"]["trace_id"]}' in page
