"""OpenTelemetry's instrumentation of Flask."""

from __future__ import annotations

import asyncio
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flask
import pytest
from flask import Flask
from flask import Response
from flask import stream_with_context
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import FileResponse

EXTENSION = "opentelemetry-instrumentation-flask"
NOTES = """Requests take a thread under ASGI, too. Spans of Starlette responses \
that send themselves, such as `FileResponse`, have no status."""

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


@pytest.fixture
def metrics() -> InMemoryMetricReader:
    return InMemoryMetricReader()


def add_views(app: Flask, painted: t.Any, tracer: trace.Tracer) -> None:
    def work() -> None:
        with tracer.start_as_current_span("work"):
            pass

    @app.get("/users/<int:id>")
    @painted
    def user(id: int) -> str:
        work()
        return f"user {id}"

    @app.get("/broken")
    @painted
    def broken() -> str:
        raise LookupError("lost")

    @app.get("/stream")
    @painted
    def stream() -> Response:
        def chunks() -> t.Iterator[str]:
            work()
            yield "streamed"

        return Response(stream_with_context(chunks()))


@pytest.fixture
def app(
    app: Flask, painted: t.Any, provider: TracerProvider, metrics: InMemoryMetricReader
) -> t.Iterator[Flask]:
    app.testing = False
    meters = MeterProvider([metrics], shutdown_on_exit=False)
    FlaskInstrumentor().instrument_app(app, tracer_provider=provider, meter_provider=meters)
    add_views(app, painted, provider.get_tracer("views"))
    yield app
    FlaskInstrumentor.uninstrument_app(app)


def meeting(colour: str) -> t.Callable[[], t.Any]:
    """Give what a view waits with until two requests are in it."""
    barrier, both, seen = threading.Barrier(2, timeout=10), asyncio.Event(), []

    async def meet() -> None:
        seen.append(1)
        if len(seen) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 10)

    return barrier.wait if colour == "def" else meet


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    finished = spans.get_finished_spans()
    names = {span.name: span for span in finished}
    assert len(names) == len(finished)
    return names


def test_a_request_is_a_span_with_route_and_status(client: t.Any, spans: t.Any) -> None:
    assert client.get("/users/7?full=1").text == "user 7"
    span = by_name(spans)["GET /users/<int:id>"]
    assert span.kind is trace.SpanKind.SERVER and span.status.is_unset
    assert span.attributes is not None
    assert span.attributes["http.route"] == "/users/<int:id>"
    assert span.attributes["http.status_code"] == 200
    assert span.attributes["http.target"] == "/users/7?full=1"


def test_spans_of_a_view_are_its_children(client: t.Any, spans: t.Any) -> None:
    client.get("/users/7")
    request, work = by_name(spans)["GET /users/<int:id>"], by_name(spans)["work"]
    assert work.parent == request.context and request.parent is None


def test_the_trace_of_the_caller_goes_on(client: t.Any, spans: t.Any) -> None:
    client.get("/users/7", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    span = by_name(spans)["GET /users/<int:id>"]
    assert span.context.trace_id == int(TRACE, 16)
    assert span.parent is not None and span.parent.span_id == int(CALLER, 16)


def test_requests_after_one_another_have_traces_of_their_own(client: t.Any, spans: t.Any) -> None:
    for _ in range(3):
        client.get("/users/7")
    requests = [span for span in spans.get_finished_spans() if span.name != "work"]
    assert len({span.context.trace_id for span in requests}) == 3
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_requests_at_the_same_time_do_not_mix(
    app: Flask, way: tuple[str, str], provider: t.Any, spans: t.Any
) -> None:
    meet, tracer = meeting(way[1]), provider.get_tracer("views")

    def view(name: str) -> str:
        meet()
        with tracer.start_as_current_span(name):
            return name

    async def view_async(name: str) -> str:
        await meet()
        with tracer.start_as_current_span(name):
            return name

    app.add_url_rule("/meet/<name>", view_func=view if way[1] == "def" else view_async)
    with ThreadPoolExecutor(2) as pool:
        clients = [app.test_client(transport=way[0]) for _ in range(2)]  # type: ignore[call-arg]
        list(pool.map(lambda client, name: client.get(f"/meet/{name}"), clients, "ab"))
    finished = spans.get_finished_spans()
    targets = {span.context.span_id: span.attributes.get("http.target") for span in finished}
    parents = {span.name: span.parent and targets[span.parent.span_id] for span in finished}
    assert (parents["a"], parents["b"]) == ("/meet/a", "/meet/b")


def test_an_error_is_in_its_span(client: t.Any, spans: t.Any) -> None:
    assert client.get("/broken").status_code == 500
    span = by_name(spans)["GET /broken"]
    assert span.attributes is not None and span.attributes["http.status_code"] == 500
    assert span.status.status_code is trace.StatusCode.ERROR
    assert [event.attributes["exception.type"] for event in span.events] == ["LookupError"]  # type: ignore[index]


def test_a_request_without_a_route_is_a_span_too(client: t.Any, spans: t.Any) -> None:
    client.get("/nothing")
    (span,) = spans.get_finished_spans()
    assert span.attributes["http.status_code"] == 404
    assert "http.route" not in span.attributes


def test_a_stream_is_part_of_the_span_of_its_request(client: t.Any, spans: t.Any) -> None:
    assert client.get("/stream").text == "streamed"
    request, work = by_name(spans)["GET /stream"], by_name(spans)["work"]
    assert work.parent == request.context


def test_a_starlette_response_that_sends_itself_has_a_span_without_a_status(
    app: Flask, client: t.Any, painted: t.Any, spans: t.Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    app.add_url_rule("/file", "file", painted(lambda: FileResponse(path)))
    assert client.get("/file").text == "text"
    span = by_name(spans)["GET /file"]
    assert span.attributes is not None and "http.status_code" not in span.attributes


def test_durations_are_measured_by_route(client: t.Any, metrics: t.Any) -> None:
    client.get("/users/7")
    client.get("/users/8")
    (resource,) = metrics.get_metrics_data().resource_metrics
    found = {metric.name: metric for one in resource.scope_metrics for metric in one.metrics}
    (point,) = found["http.server.duration"].data.data_points
    assert (point.count, point.attributes["http.target"]) == (2, "/users/<int:id>")
    assert point.attributes["http.status_code"] == 200
    (active,) = found["http.server.active_requests"].data.data_points
    assert active.value == 0


def test_applications_made_after_instrument_are_instrumented(
    way: tuple[str, str], painted: t.Any, provider: t.Any, spans: t.Any
) -> None:
    FlaskInstrumentor().instrument(tracer_provider=provider)
    try:
        other = flask.Flask("other")
        add_views(other, painted, provider.get_tracer("views"))
        client: t.Any = other.test_client(transport=way[0])  # type: ignore[call-arg]
        assert client.get("/users/7").text == "user 7"
    finally:
        FlaskInstrumentor().uninstrument()
    assert flask.Flask is not type(other)
    assert by_name(spans)["work"].parent == by_name(spans)["GET /users/<int:id>"].context
