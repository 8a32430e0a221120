"""Where a body has a quick way: it comes to what the long way comes to."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import io
import itertools
import pickle
import typing as t
from urllib.parse import urlencode

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Event
from werkzeug.sansio.multipart import MultipartDecoder
from werkzeug.sansio.multipart import NeedData
from werkzeug.sansio.utils import get_content_length

from asyncflask import Flask
from asyncflask import Request
from asyncflask import request
from asyncflask.adapters.body import Body
from asyncflask.adapters.forms import _Decoder
from asyncflask.adapters.forms import _IN_MEMORY as WHOLE
from asyncflask.adapters.parts import find_parts
from asyncflask.adapters.parts import MAX_PART_HEADERS
from asyncflask.json.provider import DefaultJSONProvider
from asyncflask.request_form import _multi_dict
from tests.bodies import add
from tests.bodies import FORM
from tests.bodies import nothing_left_behind
from tests.bodies import send
from tests.bodies import Watched
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import STALL
from tests.test_environ import scope_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


# -- single headers ----------------------------------------------------------------------------

NAMES = (b"content-length", b"content-type", b"transfer-encoding", b"cookie")
sent_names = st.sampled_from([*NAMES, b"Content-Length", b"CONTENT-TYPE", b"content_type", b"x"])
sent_values = st.sampled_from(
    [b"", b"5", b"05", b"-1", b" 5", b"\xb2", b"9" * 101, b"9" * 5000, b"5,5", b"chunked", b"gzip"]
)
sent_headers = st.lists(st.tuples(sent_names, sent_values), max_size=5)


async def receive_nothing() -> t.Any:
    return {"type": "http.disconnect"}


def made(headers: t.Sequence[tuple[bytes, bytes]], kind: type[Request] = Request) -> Request:
    """Make a request with a body as the adapter does."""
    made = kind.from_scope({**scope_of("POST"), "headers": headers})
    made.receive = receive_nothing
    made.server_context = contextvars.copy_context()
    made.body = made.new_body()
    return made


@given(sent_headers)
def test_a_single_header_is_what_the_headers_have(headers: list[tuple[bytes, bytes]]) -> None:
    quick = made(headers)
    found = [quick.header(name) for name in NAMES]
    assert found == [quick.headers.get(name.decode()) for name in NAMES]
    assert [quick.header(name) for name in NAMES] == found


@given(sent_headers)
def test_a_length_and_a_type_are_what_werkzeug_reads(headers: list[tuple[bytes, bytes]]) -> None:
    quick, slow = made(headers), Request.from_scope({**scope_of("POST"), "headers": headers})
    coding = slow.headers.get("transfer-encoding")
    assert quick.content_length == get_content_length(slow.headers.get("content-length"), coding)
    assert (quick.mimetype, quick.mimetype_params) == (slow.mimetype, slow.mimetype_params)
    assert quick.want_form_data_parsed == bool(slow.headers.get("content-type"))


def test_headers_that_were_replaced_are_looked_at() -> None:
    replaced = made([(b"content-type", b"text/plain")])
    replaced.headers = {"content-type": "text/html"}  # type: ignore[assignment]
    assert replaced.header(b"content-type") == "text/html"


class Typed(Request):
    """Has headers that are not those that came."""

    @property
    def headers(self) -> t.Any:
        return {"content-type": "application/json", "Content-Type": "application/json"}


def test_headers_of_a_class_of_ones_own_are_looked_at() -> None:
    typed = made([(b"content-type", b"text/plain")], Typed)
    assert (typed.mimetype, typed.is_json) == ("application/json", True)


# -- urlencoded forms --------------------------------------------------------------------------


class Own(Request):
    """Has a function of the user's, so that its forms go the long way."""

    def own(self) -> None:
        pass


def outcome(app: Flask, kind: type[Request], scope: t.Any, body: bytes) -> t.Any:
    made = kind.from_scope(scope)
    made.stream = io.BytesIO(body)
    with app.app_context():
        try:
            return list(made.form.lists()), list(made.files.lists()), made.stream.read()
        except HTTPException as error:
            return type(error)


form_parts = [b"a", b"=", b"&", b"+", b"%", b"%3D", b"%C3%A9", b"\xc3\xa9", b"\xff"]


@given(
    st.lists(st.sampled_from(form_parts)),
    st.sampled_from([FORM, FORM + "; charset=x", FORM.upper(), FORM + " ", "text/plain", ""]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 2, 6]),
)
def test_a_form_is_read_as_the_parser_reads_it(
    parts: list[bytes], content_type: str, fields: int | None, size: int | None
) -> None:
    app = Flask(__name__)
    app.config.update(MAX_FORM_FIELDS=fields, MAX_FORM_MEMORY_SIZE=size)
    scope = scope_of("POST", headers=[("content-type", content_type)])
    body = b"".join(parts)
    assert outcome(app, Request, scope, body) == outcome(app, Own, scope, body)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123"))))
def test_the_fields_of_a_form_are_a_multi_dict_like_any(fields: list[tuple[str, str]]) -> None:
    made, expected = _multi_dict(fields), ImmutableMultiDict(fields)
    assert made == expected
    assert (type(made), hash(made)) == (type(expected), hash(expected))
    assert list(made.items(multi=True)) == list(expected.items(multi=True))
    assert pickle.loads(pickle.dumps(made)) == copy.copy(made) == made.copy() == expected


JSON_TYPES = ("application/json", "Application/JSON", "application/json;a=b", "application/x+json")


@pytest.mark.parametrize("content_type", [*JSON_TYPES, "application/jsonp", "text/json", ""])
def test_json_is_what_werkzeug_takes_for_it(content_type: str) -> None:
    scope = scope_of("POST", headers=[("content-type", content_type)])
    expected = content_type in JSON_TYPES
    assert Request.from_scope(scope).is_json is Own.from_scope(scope).is_json is expected


def test_which_forms_go_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[type] = []
    parser_of = Request.make_form_data_parser

    def make(self: Request) -> t.Any:
        asked.append(type(self))
        return parser_of(self)

    monkeypatch.setattr(Request, "make_form_data_parser", make)
    scope = scope_of("POST", headers=[("content-type", FORM)])
    for kind in (Request, Own):
        assert outcome(Flask(__name__), kind, scope, b"a=1")[0] == [("a", ["1"])]
    assert asked == [Own]


# -- multipart forms ---------------------------------------------------------------------------

HEAD = b'\r\nContent-Disposition: form-data; name="n"\r\n\r\n'
pieces = st.sampled_from(
    [b"--x", b"--x--", b"\r\n", b"\r", b"\n", b"-", b"--", b"x", b"a", b" ", b"--xy", HEAD]
)


def events(decoder: MultipartDecoder, chunks: t.Sequence[bytes]) -> list[Event | str]:
    found: list[Event | str] = []
    try:
        for chunk in (*chunks, None):
            decoder.receive_data(chunk)
            while not isinstance(event := decoder.next_event(), NeedData):
                found.append(event)
                if decoder.state.name == "COMPLETE":
                    return found
    except ValueError as error:
        found.append(str(error))
    except RequestEntityTooLarge:
        found.append("too large")
    return found


def plain(event: Event | str) -> t.Any:
    return event if isinstance(event, str) else (type(event), str(vars_of(event)))


def vars_of(event: Event) -> dict[str, t.Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


@given(st.lists(st.lists(pieces, max_size=12).map(b"".join), max_size=6), st.booleans())
def test_a_boundary_is_found_where_werkzeug_finds_it(chunks: list[bytes], begun: bool) -> None:
    if begun:
        chunks = [b"--x" + HEAD, *chunks, b"\r\n--x--"]
    found = [plain(event) for event in events(_Decoder(b"x"), chunks)]
    assert found == [plain(event) for event in events(MultipartDecoder(b"x"), chunks)]


heads = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="n"',
        b'content-disposition:form-data; name="f"; filename="a b.txt"',
        b'Content-Disposition: form-data; name="f"; filename=""',
        b'Content-Disposition: form-data; name="%22"',
        b'Content-Disposition: form-data; name="a\\"b"',
        b"Content-Disposition: form-data; name*=utf-8''n; name=\"m\"",
        b'Content-Disposition: form-data; name="\xc3\xa9"; filename="\xff"',
        b'Content-Disposition: form-data; name="a;b"; filename="c; d=e"',
        b"Content-Disposition: form-data; name=n",
        b"Content-Disposition: form-data",
        b'Content-Disposition: form-data; filename="n"',
        b'CONTENT-DISPOSITION:  form-data; name=" n "\t',
        b"Content-Type: text/plain; charset=iso-8859-1",
        b"Content-Length: 5",
        b"X: " + b"y" * 8200,
        b" folded",
        b"colonless",
        b"",
    ]
)
# Most are as they should be, or hardly any form were.
breaks = st.sampled_from([*[b"\r\n"] * 60, b"\n", b"\r", b"", b"\n\r"])
contents = st.lists(
    st.sampled_from([b"a", b"\r\n", b"\n", b"\r", b"-", b"--x", b"\r\n--x", b"\xff", b"\xc3\xa9"]),
    max_size=4,
).map(b"".join)
ends = st.sampled_from(
    [*[b"--x--\r\n"] * 9, b"--x--", b"--x--tail", b"--x \r\n", b"--x", b"--xy--"]
)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """Write a multipart form, or nearly one."""
    form = draw(st.sampled_from([*[b""] * 9, b"before\r\n", b"\r\n"]))
    for lines, content in draw(
        st.lists(
            st.tuples(st.lists(heads, min_size=1, max_size=2), contents), min_size=1, max_size=3
        )
    ):
        form += b"--x" + draw(breaks)
        form += b"".join(line + draw(breaks) for line in lines)
        form += draw(breaks) + content + draw(breaks)
    return form + draw(ends)


class Files(Request):
    """Has a place of its own for files, as users may have."""

    def _get_file_stream(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        self.asked = [*vars(self).get("asked", ()), (args, kwargs)]
        return io.BytesIO()


def read_multipart(stream: io.BytesIO, kind: type[Request], **limits: int | None) -> t.Any:
    """Give all that comes of a form; one that is no ``BytesIO`` goes through the parser."""
    app = Flask(__name__)
    app.config.update(limits)
    scope = scope_of("POST", headers=[("content-type", "multipart/form-data; boundary=x")])
    made = kind.from_scope(scope)
    made.stream = stream
    with app.app_context():
        try:
            files = list(made.files.items(multi=True))
        except HTTPException as error:
            return type(error)
        rest = made.stream.read()
    found = [
        (name, file.name, file.filename, list(file.headers), type(file.stream), file.read())
        for name, file in files
    ]
    made.close()
    fields = list(made.form.items(multi=True))
    return fields, found, rest, vars(made).get("asked"), [file.closed for _, file in files]


class Parsed(io.BytesIO):
    """Is not known to have the whole form."""


@given(
    forms(),
    st.sampled_from([Request, Files]),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from([None, 30, 70, 500_000]),
)
def test_the_parts_of_a_whole_form_are_what_the_parser_finds(
    form: bytes, kind: type[Request], parts: int | None, size: int | None
) -> None:
    limits = {"MAX_FORM_PARTS": parts, "MAX_FORM_MEMORY_SIZE": size}
    expected = read_multipart(Parsed(form), kind, **limits)
    assert read_multipart(io.BytesIO(form), kind, **limits) == expected


def test_a_form_as_clients_write_it_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncflask.adapters.forms._Decoder", None)
    form = b"--x" + HEAD + b'1\r\n--x\r\nContent-Disposition: form-data; name="f"; filename="a"'
    form += b"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--x--\r\n"
    fields, files, *_ = read_multipart(io.BytesIO(form), Request)
    assert fields == [("n", "1")]
    assert [(name, filename, data) for name, _, filename, *_, data in files] == [
        ("f", "a", b"file")
    ]


@pytest.mark.parametrize("size, whole", [(500 * 1024, True), (500 * 1024 + 1, False)])
def test_a_form_whose_files_may_go_to_disk_is_parsed(size: int, whole: bool) -> None:
    head, end = (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n',
        b"\r\n--x--",
    )
    form = head + bytes(size - len(head) - len(end)) + end
    limits = {"MAX_FORM_MEMORY_SIZE": None, "MAX_FORM_FILES": 0}
    found = read_multipart(io.BytesIO(form), Request, **limits)
    assert found == read_multipart(Parsed(form), Request, **limits)
    assert (find_parts(form, b"x", None) is not None) and len(form) == size
    assert (len(form) <= WHOLE) is whole


NAME = b'Content-Disposition: form-data; name="n"'
ODD_HEADS = [
    NAME + b"\r\n folded",
    NAME + b"\r\n\tfolded",
    NAME + b"\nX: y",
    NAME + b"\rX: y",
    NAME + b"\r\nX: \xff",
    b"X: y\nZ: z\r\n" + NAME,
    b"X: y\rZ: z\r\n" + NAME,
    b"X: y",
    b"Content-Disposition: form-data; name=n",
    b"Content-Disposition: form-data; name*=utf-8''n",
    b"Content-Disposition: form-data; name=\"n\"; filename*=utf-8''f",
    b'Content-Disposition: form-data; name="a%22b"',
    b'Content-Disposition: form-data; name="a\\"b"',
    b'Content-Disposition: form-data; name="n*"',
    b'Content-Disposition: form-data; name="a\tb"',
    b'Content-Disposition: attachment; name="n"',
    NAME + b"\r\nX: " + b"y" * 8200,
]


@pytest.mark.parametrize("head", ODD_HEADS, ids=lambda head: repr(head)[:60])
def test_a_part_with_odd_headers_is_parsed(head: bytes) -> None:
    form = b"--x\r\n" + head + b"\r\n\r\n1\r\n--x--\r\n"
    assert find_parts(form, b"x", None) is None
    assert read_multipart(io.BytesIO(form), Request) == read_multipart(Parsed(form), Request)


@pytest.mark.parametrize("more", [0, 1])
def test_the_headers_of_a_part_have_the_parser_s_limit(more: int) -> None:
    head = NAME + b"\r\nX: "
    head += b"y" * (MAX_PART_HEADERS - len(head) - 2 + more)
    form = b"--x\r\n" + head + b"\r\n\r\n1\r\n--x--\r\n"
    found = read_multipart(io.BytesIO(form), Request)
    assert found == read_multipart(Parsed(form), Request)
    assert (found is RequestEntityTooLarge) is bool(more)


def test_what_was_read_of_a_stream_is_no_part_of_the_form() -> None:
    part = b"--x\r\n" + NAME + b"\r\n\r\n1\r\n"
    for end in (b"--x--", b"--x \r\n" + NAME + b"\r\n\r\n2\r\n--x--"):
        stream = io.BytesIO(part + part + end)
        stream.seek(len(part))
        assert read_multipart(stream, Request)[0][0] == ("n", "1")
        assert len(read_multipart(stream, Request)[0]) == 0
        stream.seek(len(part))
        expected = Parsed(part + end)
        assert read_multipart(stream, Request) == read_multipart(expected, Request)


FILE = NAME + b'; filename="f"\r\n'


@pytest.mark.parametrize(
    "head", [b"Content-Length: 3\r\n", b"content-length:x\r\n", b"Content-Type: text/x\r\n", b""]
)
def test_a_place_for_files_is_told_the_same(head: bytes) -> None:
    form = b"--x\r\n" + FILE + head + b"\r\none\r\n--x--\r\n"
    assert find_parts(form, b"x", None) is not None
    assert read_multipart(io.BytesIO(form), Files) == read_multipart(Parsed(form), Files)


@pytest.mark.parametrize("kind", [io.BytesIO, Parsed])
def test_a_file_is_closed_if_there_is_no_place_for_the_next(kind: type[io.BytesIO]) -> None:
    places = [place := io.BytesIO()]

    class Few(Request):
        def _get_file_stream(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            return places.pop()

    part = b"--x\r\n" + FILE + b"\r\none\r\n"
    with pytest.raises(IndexError):
        read_multipart(kind(part + part + b"--x--"), Few)
    assert place.closed


def test_of_two_headers_of_a_part_the_first_one_counts() -> None:
    form = b"--x\r\n" + NAME + b"\r\n" + NAME.replace(b'"n"', b'"m"') + b"\r\n\r\n1\r\n--x--"
    for stream in (io.BytesIO(form), Parsed(form)):
        assert read_multipart(stream, Request)[0] == [("n", "1")]


# -- bodies that come as a single message ------------------------------------------------------


def replace_stream() -> None:
    request.stream = io.BytesIO(b"[2]")


LOOKS: dict[str, t.Callable[[], t.Any]] = {
    "json": lambda: request.json,
    "get_json, silent": lambda: request.get_json(silent=True),
    "get_json, forced": lambda: request.get_json(force=True),
    "get_json, not kept": lambda: request.get_json(cache=False),
    "get_data": lambda: request.get_data(),
    "get_data, not kept": lambda: request.get_data(cache=False),
    "get_data, as text": lambda: request.get_data(as_text=True),
    "data": lambda: request.data,
    "form": lambda: request.form,
    "stream": lambda: request.stream.read(),
    "stream, in part": lambda: request.stream.read(2),
    "stream, from its start": lambda: (request.stream.seek(0), request.stream.read()),
    "stream, replaced": replace_stream,
    "input": lambda: request.environ["wsgi.input"].read(),
    "length": lambda: request.content_length,
    "limit": lambda: setattr(request, "max_content_length", 2),
}


def look(name: str) -> t.Any:
    try:
        return LOOKS[name]()
    except HTTPException as error:
        return type(error), error.description


async def answers(body: t.Any, kind: type[Request], **options: t.Any) -> list[t.Any]:
    """Have each two looks at a body, one after the other, and give what they find."""
    app = Flask(__name__)
    app.request_class = kind
    app.config.update(options.pop("config", {}))
    found: list[t.Any] = []

    @app.post("/")
    async def view() -> str:
        found.append([look(request.args["a"]), look(request.args["b"]), look("get_data")])
        return "ok"

    for one, other in itertools.product(LOOKS, LOOKS):
        path = "/?" + urlencode({"a": one, "b": other})
        answer = await fetch(app, "POST", path, body=body, **options)
        found.append(answer.status)
    return found


@pytest.mark.parametrize("content_type", [FORM, "application/json", "text/plain"])
@pytest.mark.parametrize("body", [b'{"a": "\xc3\xa9"}', b"a=1&b=%C3%A9", b"\xff", b""])
async def test_whoever_looks_at_a_body_finds_what_the_long_way_gives(
    body: bytes, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    expected = await answers(body, Own, headers=headers)
    assert await answers(body, Request, headers=headers) == expected


class Limited(Request):
    """Has a limit of its own, which is plain data."""

    max_content_length = 3  # type: ignore[assignment]


class LimitedOwn(Limited, Own):
    """The same, the long way."""


@pytest.mark.parametrize("kinds", [(Request, Own), (Limited, LimitedOwn)])
@pytest.mark.parametrize("config", [{}, {"MAX_CONTENT_LENGTH": 3}, {"MAX_BUFFERED_BODY": 3}])
@pytest.mark.parametrize("length", [-1, None, 3, 5])
@pytest.mark.parametrize(
    "body", [b"a=1", b"a=12", [b"a=", b"1"], [b"a=1", b"2"], b"", [b"a", LEAVE]]
)
async def test_what_is_wrong_with_a_body_is_told_as_the_long_way_tells(
    kinds: tuple[t.Any, t.Any], config: dict[str, int], length: int | None, body: t.Any
) -> None:
    found = []
    for kind in kinds:
        app = Flask(__name__)
        app.request_class = kind
        app.config.update(config)
        add(app, "async", lambda: request.form["a"])
        headers = {"Content-Type": FORM}
        watched = Watched(app)
        answer = await fetch(watched, "POST", body=body, headers=headers, length=length)
        found.append((answer.status, answer.body, watched.calls))
    assert found[0] == found[1]


async def test_a_body_that_is_there_takes_no_way_through_a_buffer(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Body, "_note", None)
    monkeypatch.setattr(Request, "load_body", None)
    add(app, "async", lambda: request.form["a"])
    answer = await fetch(app, "POST", body=b"a=1", headers={"Content-Type": FORM})
    assert (answer.status, answer.body) == (200, b"1")


async def test_two_tasks_wait_for_a_first_message_that_comes_late(app: Flask) -> None:
    found: list[bytes] = []
    tasks: list[asyncio.Task[None]] = []
    kept: list[Request] = []

    async def load() -> None:
        await kept[0].load_body()
        found.append(kept[0].get_data())

    @app.before_request
    async def begin() -> None:
        kept.append(request._get_current_object())
        tasks.append(asyncio.create_task(load()))

    @app.post("/")
    async def view() -> bytes:
        await tasks[0]
        return request.get_data()

    answer = await fetch(around(app, late), "POST", body=b"a=1")
    assert (answer.body, found) == (b"a=1", [b"a=1"])


async def test_after_its_end_a_request_has_no_body_to_be_read(app: Flask) -> None:
    kept: list[Request] = []
    add(app, "async", lambda: str(kept.append(request._get_current_object())))
    await fetch(app, "POST", body=b"a=1", headers={"Content-Type": FORM})
    for read in (kept[0].get_data, kept[0].stream.read):
        with pytest.raises(ValueError, match="closed"):
            read()


async def test_a_json_module_of_ones_own_is_asked_once(app: Flask) -> None:
    asked: list[t.Any] = []

    class Provider(DefaultJSONProvider):
        def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
            asked.append(s)
            raise ValueError(s)

    app.json = Provider(app)
    add(app, "async", lambda: str([request.get_json(silent=True) for _ in range(2)]))
    headers = {"Content-Type": "application/json"}
    answer = await fetch(app, "POST", body=b"{}", headers=headers)
    assert (answer.body, asked) == (b"[None, None]", [b"{}"])


TYPES = ("x", "-+_.'~", "x y", "x;a=b", '"x"', "x%22", "a*b", "\xe9", "", "x; a=b", "x ")


@pytest.mark.parametrize("boundary", TYPES)
def test_a_boundary_is_what_werkzeug_reads(boundary: str) -> None:
    for kind in ("multipart/form-data; ", "multipart/form-data;", "Multipart/form-data; "):
        sent = f"{kind}boundary={boundary}"
        made = Request.from_scope(scope_of("POST", headers=[("content-type", sent)]))
        assert (made.mimetype, made.mimetype_params) == (
            parse_options_header(sent)[0].lower(),
            parse_options_header(sent)[1],
        )


# -- receiving ---------------------------------------------------------------------------------


def around(app: Flask, receiving: t.Callable[[t.Any], t.Awaitable[t.Any]]) -> t.Any:
    """Put a middleware around the application that receives in its own way."""

    async def middleware(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        await app(scope, lambda: receiving(receive), send)

    return middleware


async def in_a_scope(receive: t.Any) -> t.Any:
    with anyio.fail_after(10):
        return await receive()


async def in_a_group(receive: t.Any) -> t.Any:
    found: list[t.Any] = []

    async def one() -> None:
        found.append(await receive())

    async with anyio.create_task_group() as group:
        group.start_soon(one)
    return found[0]


async def in_a_timeout(receive: t.Any) -> t.Any:
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        return await receive()


async def after_a_cancellation(receive: t.Any) -> t.Any:
    with anyio.move_on_after(0):
        await anyio.sleep_forever()
    return await receive()


WAYS = (in_a_scope, in_a_group, in_a_timeout, after_a_cancellation)


@pytest.mark.parametrize("way", WAYS)
async def test_a_middleware_receives_with_scopes_of_its_own(app: Flask, way: t.Any) -> None:
    add(app, "async", lambda: request.form["a"])
    headers = {"Content-Type": FORM}
    async with nothing_left_behind():
        for body in (b"a=1", [b"a", b"=", b"1"]):
            answer = await fetch(around(app, way), "POST", body=body, headers=headers)
            assert (answer.status, answer.body) == (200, b"1")


@pytest.mark.parametrize("way", WAYS)
async def test_within_them_too_a_silent_client_gets_408(app: Flask, way: t.Any) -> None:
    app.config["BODY_TIMEOUT"] = 0.05
    add(app, "async", lambda: request.form["a"])
    async with nothing_left_behind():
        async with Exchange(around(app, way), "POST", body=[b"a", STALL]) as exchange:
            await exchange.end()
        assert exchange.answer.status == 408


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_server_that_fails_to_give_a_message_has_lost_its_client(
    app: Flask, at_once: bool
) -> None:
    async def fail(receive: t.Any) -> t.Any:
        if not at_once:
            await asyncio.sleep(0)
        raise OSError

    add(app, "async", lambda: request.form["a"])
    answer = await fetch(around(app, fail), "POST", body=b"a=1")
    assert answer.status == 400


async def test_a_receive_that_cleans_up_after_the_time_is_over_is_waited_for(app: Flask) -> None:
    ended = []

    async def tidy(receive: t.Any) -> t.Any:
        try:
            await anyio.sleep_forever()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append(True)

    app.config["BODY_TIMEOUT"] = 0.05
    add(app, "async", lambda: request.form["a"])
    answer = await fetch(around(app, tidy), "POST", body=b"a=1")
    assert (answer.status, ended) == (408, [True])


async def test_no_timer_is_set_for_what_is_there(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timeout(seconds: float | None) -> t.NoReturn:
        raise AssertionError("a timer was set")

    monkeypatch.setattr(asyncio, "timeout", timeout)
    add(app, "async", lambda: request.form["a"])
    answer = await fetch(app, "POST", body=[b"a", b"=1"], headers={"Content-Type": FORM})
    assert (answer.status, answer.body) == (200, b"1")


async def late(receive: t.Any) -> t.Any:
    await asyncio.sleep(0)
    return await receive()


one_or_two = pytest.mark.parametrize("body", [b"a=1", [b"a", b"=1"]], ids=["one", "two"])


@one_or_two
async def test_a_task_gets_no_part_of_a_body_that_is_waited_for(app: Flask, body: t.Any) -> None:
    tasks: list[asyncio.Task[t.Any]] = []

    async def stream(kept: Request) -> bytes:
        return b"".join([chunk async for chunk in kept.stream])

    @app.before_request
    async def begin() -> None:
        tasks.append(asyncio.create_task(stream(request._get_current_object())))

    add(app, "async", lambda: request.form["a"])
    answer = await fetch(around(app, late), "POST", body=body, headers={"Content-Type": FORM})
    assert (answer.status, answer.body) == (200, b"1")
    with pytest.raises(RuntimeError, match="is being loaded"):
        await tasks[0]


@one_or_two
async def test_several_tasks_load_a_body_that_is_waited_for(app: Flask, body: t.Any) -> None:
    tasks: list[asyncio.Task[t.Any]] = []

    async def load(kept: Request) -> bytes:
        await kept.load_body()
        return t.cast(bytes, kept.stream.getvalue())

    @app.before_request
    async def begin() -> None:
        kept = request._get_current_object()
        tasks.extend(asyncio.create_task(load(kept)) for _ in range(2))

    @app.post("/")
    async def view() -> list[str]:
        return [part.decode() for part in await asyncio.gather(*tasks)]

    answer = await fetch(around(app, late), "POST", body=body, headers={"Content-Type": FORM})
    assert (answer.status, answer.json) == (200, ["a=1", "a=1"])


async def test_who_waits_for_a_load_that_is_cancelled_loads_itself() -> None:
    async def receive() -> t.Any:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"a"}

    body = Body(receive, None, None, contextvars.copy_context(), asyncio.current_task())
    waiting = asyncio.create_task(body.load(None))
    with anyio.move_on_after(0) as scope:
        await t.cast("t.Awaitable[bool]", body.load_at_once(None))
    assert scope.cancelled_caught
    assert (await waiting).read() == b"a"


class Upper(io.RawIOBase):
    """Stands around a stream, to change what it gives."""

    def __init__(self, stream: t.Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        data = self._stream.read(len(buffer)).upper()
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("body", [[b"a=x"], [b"a", b"=x"], [b"a=" + b"x" * 300_000]], ids=len)
@pytest.mark.parametrize("look", ["form", "data", "stream"])
@pytest.mark.parametrize(
    "transport, colour, replaced",
    # What an async hook finds under WSGI is to be awaited, and no file to put something around.
    sorted(
        {*itertools.product(("asgi", "wsgi"), ("sync", "async"), (False, True))}
        - {("wsgi", "async", False)}
    ),
)
async def test_a_stream_that_a_hook_puts_there_is_read_in_place_of_the_body(
    app: Flask, transport: str, colour: str, replaced: bool, look: str, body: list[bytes]
) -> None:
    def replace() -> None:
        request.stream = io.BytesIO(b"A=1") if replaced else Upper(request.stream)

    async def replace_async() -> None:
        replace()

    app.before_request(replace if colour == "sync" else replace_async)
    looks: dict[str, t.Callable[[], t.Any]] = {
        "form": lambda: "A=" + request.form["A"],
        "data": lambda: request.get_data(),
        "stream": lambda: request.stream.read(),
    }
    add(app, "async", looks[look])
    expected = b"A=1" if replaced else b"".join(body).upper()
    assert await send(app, transport, body) == (200, expected)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_a_body_that_is_no_bytes_becomes_bytes(app: Flask, kind: t.Any) -> None:
    async def other_kind(receive: t.Any) -> t.Any:
        message = await receive()
        return {**message, "body": kind(message["body"])}

    add(app, "async", lambda: str(type(request.get_data())))
    assert (await fetch(around(app, other_kind), "POST", body=b"a=1")).body == b"<class 'bytes'>"


async def test_who_waits_for_the_client_to_leave_waits_with_the_load() -> None:
    messages: list[t.Any] = [{"type": "http.request", "body": b"a"}, {"type": "http.disconnect"}]

    async def receive() -> t.Any:
        await asyncio.sleep(0)
        return messages.pop(0)

    body = Body(receive, None, None, contextvars.copy_context(), asyncio.current_task())
    waiting = asyncio.create_task(body.wait_for_disconnect())
    assert await t.cast("t.Awaitable[bool]", body.load_at_once(None))
    assert body.open().read() == b"a"
    await asyncio.wait_for(waiting, 5)
    assert body.disconnected


async def test_a_class_that_loads_bodies_itself_is_asked_to(app: Flask) -> None:
    class Loading(Request):
        async def load_body(self) -> None:
            await super().load_body()
            self.stream = io.BytesIO(self.stream.read().upper())

    app.request_class = Loading
    add(app, "async", lambda: request.get_data())
    assert (await fetch(app, "POST", body=b"a")).body == b"A"
