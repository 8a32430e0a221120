"""What the benchmarks count as an answer, ask for, and make of their figures."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import socket
from pathlib import Path

import pytest

from benchmarks import apps
from benchmarks import wrk
from benchmarks.__main__ import parse
from benchmarks.answers import Answer
from benchmarks.answers import check_answer
from benchmarks.answers import cookie_of
from benchmarks.calling import body_messages
from benchmarks.calling import Exchange
from benchmarks.calling import prepare_requests
from benchmarks.contenders import Contender
from benchmarks.contenders import CONTENDERS
from benchmarks.contenders import contenders_of
from benchmarks.figures import Figures
from benchmarks.figures import Key
from benchmarks.figures import quartiles
from benchmarks.load import Connection
from benchmarks.load import count_answers
from benchmarks.load import make_load
from benchmarks.load import percentiles
from benchmarks.machine import in_words
from benchmarks.machine import processor
from benchmarks.plots import bars_of
from benchmarks.reading import AnswerReader
from benchmarks.reading import format_request
from benchmarks.results import BEGIN
from benchmarks.results import END
from benchmarks.results import put_between_marks
from benchmarks.results import Results
from benchmarks.results import write_markdown
from benchmarks.tables import as_markdown
from benchmarks.tables import as_text
from benchmarks.tables import describe
from benchmarks.tables import workload_table
from benchmarks.targets import judge
from benchmarks.targets import Target
from benchmarks.targets import TARGETS
from benchmarks.workloads import BY_NAME
from benchmarks.workloads import Workload
from benchmarks.workloads import WORKLOADS

pytestmark = pytest.mark.bare

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
ASKED = Workload("asked", "asked", "hello", b"hello")
#: What is installed decides: the frameworks of the group "bench" take part where that one is.
PAIRS = [
    pytest.param(workload, contender, id=f"{workload.name}-{contender.name}")
    for workload in WORKLOADS
    for contender in contenders_of(dataclasses.replace(workload, inside=True), "inprocess")
]
MACHINE = {
    "date": "2030-01-02",
    "processor": "Abacus 7",
    "cores": "2",
    "system": "Linux x86_64",
    "python": "3.11.7",
    "client": "wrk",
    "run": "full",
    "starlette": "9.9",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("static")


@pytest.mark.parametrize(("workload", "contender"), PAIRS)
async def test_each_application_gives_the_expected_answer(
    workload: Workload, contender: Contender, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(apps.content, "STATIC", folder)
    app = contender.make(workload)
    requests = await prepare_requests(app, contender.protocol, workload, contender.name)
    await requests(2)


def test_every_workload_has_applications_of_asyncflask_and_of_those_it_is_compared_with() -> None:
    taking_part = {
        (workload.name, contender.name)
        for workload in WORKLOADS
        for contender in contenders_of(workload, "http" if not workload.inside else "inprocess")
    }
    for workload in WORKLOADS:
        ours = "asyncflask, mounted" if workload.app.startswith("mounted") else "asyncflask"
        assert (workload.name, ours) in taking_part
    assert ("hello", "Flask") in taking_part and ("mixed-hooks", "Flask") not in taking_part


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written.append(data)

    def abort(self) -> None:
        self.written.append(b"aborted")


async def connect() -> tuple[Connection, Transport, asyncio.Future[None]]:
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection, transport = Connection(ASKED, b"ask", broken), Transport()
    connection.connection_made(transport)
    assert not transport.written
    connection.ask()
    return connection, transport, broken


@pytest.mark.parametrize("size", [1, 7, len(ANSWER)])
async def test_an_answer_counts_once_it_is_complete(size: int) -> None:
    connection, transport, broken = await connect()
    for start in range(0, len(ANSWER), size):
        assert not connection.times
        connection.data_received(ANSWER[start : start + size])
    assert len(connection.times) == 1 and connection.first.done() and not broken.done()
    assert transport.written == [b"ask", b"ask"]


@pytest.mark.parametrize(
    "wrong",
    [
        ANSWER.replace(b"200 OK", b"500 No"),
        ANSWER.replace(b"hello", b"jello"),
        ANSWER + b"!",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
@pytest.mark.parametrize("before", [0, 1])
async def test_a_wrong_answer_ends_the_load(wrong: bytes, before: int) -> None:
    connection, transport, broken = await connect()
    for _ in range(before):
        connection.data_received(ANSWER)
    connection.data_received(wrong)
    assert transport.written[-1] == b"aborted" and len(connection.times) == before
    with pytest.raises(ConnectionError, match="not the expected answer"):
        broken.result()


async def test_a_connection_that_the_server_closes_ends_the_load() -> None:
    connection, _, broken = await connect()
    connection.connection_lost(None)
    with pytest.raises(ConnectionError, match="has closed"):
        broken.result()


async def test_a_connection_that_is_left_reports_nothing() -> None:
    connection, _, broken = await connect()
    connection.close()
    connection.connection_lost(None)
    assert not broken.done()


def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionError):
        make_load(port, ASKED, "", 0.1)


async def test_every_connection_is_asked() -> None:
    asked: list[int] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(asked)
        asked.append(0)
        serving.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                asked[number] += 1
                writer.write(ANSWER)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    workload = dataclasses.replace(ASKED, connections=3)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        load = await count_answers(server.sockets[0].getsockname()[1], workload, "", 0.05)
        # Or their sockets would outlive the loop.
        async with asyncio.timeout(10):
            await asyncio.wait(serving)
    assert load.answers > 3 and len(asked) == 3 and min(asked) > 0


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_chunks_are_joined(size: int) -> None:
    encoded = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    encoded += b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    reader = AnswerReader()
    read = [reader.feed(encoded[start : start + size]) for start in range(0, len(encoded), size)]
    assert read[:-1] == [None] * (len(read) - 1)
    assert read[-1] == Answer(200, [("transfer-encoding", "chunked")], b"hello!")


def test_a_request_has_the_body_its_length_and_the_cookie() -> None:
    head, _, body = format_request(BY_NAME["form"], "session=x").partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\nHost: ") and body == BY_NAME["form"].body
    assert f"Content-Length: {len(body)}".encode() in head and b"Cookie: session=x" in head


def test_an_answer_needs_status_body_headers_and_cookie() -> None:
    hooked = BY_NAME["hooks"]
    headers = [("X-First", "1"), ("x-second", "2")]
    check_answer("it", hooked, Answer(200, headers, b"Hello, World!"))
    with pytest.raises(RuntimeError, match="it answers 'hooks' with 200"):
        check_answer("it", hooked, Answer(200, headers[:1], b"Hello, World!"))
    with pytest.raises(RuntimeError, match="'json'"):
        check_answer("it", BY_NAME["json"], Answer(200, [], b"no JSON"))
    with pytest.raises(RuntimeError, match="'session'"):
        check_answer("it", BY_NAME["session"], Answer(200, [], b"2"))
    assert cookie_of(Answer(200, [("Set-Cookie", "a=b; Path=/")], b"")) == "a=b"


async def test_a_body_comes_in_pieces_and_the_disconnect_after_the_answer() -> None:
    pieces = body_messages(b"x" * 100_000)
    assert [len(piece["body"]) for piece in pieces] == [65_536, 34_464]
    assert [piece["more_body"] for piece in pieces] == [True, False]
    exchange = Exchange(body_messages(b""), None)
    assert (await exchange.receive())["body"] == b""
    waiting = asyncio.ensure_future(exchange.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    await exchange.send({"type": "http.response.body", "body": b""})
    assert (await waiting)["type"] == "http.disconnect"


def test_wrk_is_told_what_to_send_and_its_report_is_read(tmp_path: Path) -> None:
    script = wrk.write_script(BY_NAME["form"], 'session="x"', tmp_path / "body")
    assert 'wrk.method = "POST"' in script and '["Cookie"] = "session=\\"x\\""' in script
    report = '{"requests": 500, "us": 250000, "p50": 1500.0, "p99": 9000.0, "errors": 0}'
    assert wrk.read_output(f"Running\n\n{report}\n") == (2000.0, 500, 1.5, 9.0)
    with pytest.raises(ConnectionError, match="'errors': 3"):
        wrk.read_output(report.replace('"errors": 0', '"errors": 3'))
    with pytest.raises(ConnectionError, match="wrk says"):
        wrk.read_output("unable to connect")


def figures_of(**values: float) -> Figures:
    """Make figures of one workload."""
    names = {"ours": "asyncflask", "theirs": "Starlette"}
    series = {
        Key("http", "hello", names[name], "requests/s"): [value] for name, value in values.items()
    }
    return Figures(series)


@pytest.mark.parametrize(
    ("measure", "at_least", "ours", "value", "outcome"),
    [
        ("ratio", True, 200.0, 2.0, "met"),
        ("ratio", True, 199.0, 1.99, "NOT MET"),
        ("ratio", False, 199.0, 1.99, "met"),
        ("difference", False, 103.0, 3.0, "NOT MET"),
        ("difference", False, 102.0, 2.0, "met"),
        ("value", False, 1.5, 1.5, "met"),
    ],
)
def test_a_target_compares_medians(
    measure: str, at_least: bool, ours: float, value: float, outcome: str
) -> None:
    target = Target("http", "hello", "requests/s", "asyncflask", "Starlette", 2.0, at_least)
    target = dataclasses.replace(target, measure=measure)
    verdict = judge(target, figures_of(ours=ours, theirs=100.0))
    assert verdict.value == pytest.approx(value) and verdict.outcome == outcome


def test_a_target_is_not_measured_without_both_figures() -> None:
    target = Target("http", "hello", "requests/s", "asyncflask", "Starlette", 2.0)
    for figures in (Figures(), figures_of(ours=1.0), figures_of(theirs=1.0)):
        assert judge(target, figures).outcome == "not measured"


def test_targets_are_about_what_there_is() -> None:
    names = {contender.name for contender in CONTENDERS}
    for target in TARGETS:
        assert target.ours in names and (target.theirs in names or target.measure == "value")
        if target.level in ("inprocess", "http"):
            assert target.workload in BY_NAME
            assert target.their_workload is None or target.their_workload in BY_NAME
    assert len({str(target) + target.level for target in TARGETS}) == len(TARGETS)


def made_up() -> Figures:
    figures = Figures()
    for name, values in (("Starlette", (10.0, 20.0, 30.0)), ("asyncflask", (5.0, 10.0, 15.0))):
        figures.add(Key("inprocess", "hello", name, "µs"), *values)
    figures.add(Key("inprocess", "hello", "Starlette", "calls"), 29)
    return figures


def test_a_table_has_medians_quartiles_and_ratios() -> None:
    table = workload_table(made_up(), "inprocess", "hello", "hello")
    assert table.head == ["", "µs", "× Starlette", "calls"]
    assert table.rows == [
        ["Starlette", "20.0 [15.0–25.0]", "1.00", "29"],
        ["asyncflask", "10.0 [7.5–12.5]", "0.50", "–"],
    ]
    assert as_text(table).splitlines()[1] == "                          µs  × Starlette  calls"
    assert as_markdown(table).splitlines()[2:4] == [
        "|  | µs | × Starlette | calls |",
        "| --- | --: | --: | --: |",
    ]


def test_figures_are_described_with_the_digits_that_tell_something() -> None:
    assert describe([12_345.6, 12_345.6]) == "12346"
    assert describe([1.0, 2.0, 3.0]) == "2.00 [1.50–2.50]"
    assert describe(None) == "–" and quartiles([7.0]) == (7.0, 7.0)
    assert percentiles([]) == (0.0, 0.0) and percentiles([3.0]) == (3.0, 3.0)
    assert percentiles([float(number) for number in range(101)]) == (50.0, 99.0)


def test_bars_are_ratios_to_starlette_round_by_round() -> None:
    assert bars_of(made_up(), "inprocess", "µs") == [("hello", "asyncflask", 0.5, 0.5, 0.5)]


def test_results_survive_being_saved() -> None:
    results = Results(MACHINE, made_up())
    again = Results.from_json(results.to_json())
    assert again == results
    text = write_markdown(again)
    assert text.startswith("2030-01-02, Abacus 7, 2 cores, ") and "starlette 9.9" in text
    assert "| inprocess: hello, µs: asyncflask at most 1 × Starlette | 0.50 | met |" in text
    assert "### hello (hello)" in text


def test_a_page_gets_the_tables_between_its_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_between_marks(page, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no '<!-- measured: begin"):
        put_between_marks("before", "new")


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus 7\n", "utf-8")
    assert processor(cpuinfo) == "Abacus 7"
    assert socket.gethostname() not in in_words(MACHINE)


def test_the_command_line_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--level", "inprocess", "--only", "hello, json", "--against", "Quart"]
    options: argparse.Namespace = parse(chosen)
    assert options.level == ["inprocess"]
    assert [workload.name for workload in options.only] == ["hello", "json"]
    names = [contender.name for contender in options.against]
    assert names == ["asyncflask", "Quart", "asyncflask, WSGI", "asyncflask, mounted"]
    with pytest.raises(SystemExit):
        parse(["--only", "nonsense"])
    assert "'nonsense' is none of hello, " in capsys.readouterr().err
