"""What clients may write in headers, forms and JSON to make a parser slow, or wrong."""

from __future__ import annotations

import gzip
import io
import json
import typing as t
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflask import Flask
from asyncflask import Request
from asyncflask import request
from asyncflask.json import pieces
from asyncflask.tolerance import decode_query
from asyncflask.tolerance import parse_query
from tests.bodies import add
from tests.bodies import both_colours
from tests.bodies import both_transports
from tests.bodies import BOUNDARY
from tests.bodies import FORM
from tests.bodies import KIB
from tests.bodies import MIB
from tests.bodies import multipart
from tests.bodies import send
from tests.kit.cases import Figure
from tests.kit.costs import check_cost
from tests.kit.costs import check_factor
from tests.kit.costs import check_growth
from tests.kit.costs import Cost
from tests.kit.costs import cost

pytestmark = pytest.mark.anyio


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


# -- headers -----------------------------------------------------------------------------------

SIZES = 8 * KIB, 64 * KIB
HEADERS: dict[str, tuple[str, t.Callable[[Request], t.Any]]] = {
    "accept": ("accept", lambda request: request.accept_mimetypes),
    "languages": ("accept-language", lambda request: request.accept_languages),
    "cookies": ("cookie", lambda request: request.cookies),
    "ranges": ("range", lambda request: request.range),
    "if-range": ("if-range", lambda request: request.if_range),
    "etags": ("if-none-match", lambda request: request.if_none_match),
    "authorization": ("authorization", lambda request: request.authorization),
    "content type": ("content-type", lambda request: request.mimetype_params),
    "cache control": ("cache-control", lambda request: request.cache_control),
    "date": ("if-modified-since", lambda request: request.if_modified_since),
    "pragma": ("pragma", lambda request: request.pragma),
    "route": ("x-forwarded-for", lambda request: request.access_route),
    "length": ("content-length", lambda request: request.content_length),
}
START = {
    "authorization": "Digest ",
    "content type": 'multipart/form-data; boundary="',
    "ranges": "bytes=",
}
REPEATED = [";", ",", '"', "\\", '"\\', ' x=\\"', '!=\\"\\', "a=b; ", "a=b,", "0-0,", "W/", '"a",']
REPEATED += ["a;q=1,", "=", " ", "x", "9", "*=utf-8''%", "a*0=b;", "(", "%20"]


def made(name: str, value: str) -> Request:
    """Make a request with one header."""
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "root_path": ""}
    headers = [(b"host", b"x"), (name.encode(), value.encode("latin-1"))]
    return Request.from_scope({**scope, "headers": headers})


@pytest.mark.bare
@pytest.mark.case("A30")
@pytest.mark.parametrize("what", HEADERS)
def test_headers_are_parsed_in_linear_time(what: str, figure: Figure) -> None:
    name, parse = HEADERS[what]
    worst = Cost(0.0)
    for repeated in REPEATED:

        def run(size: int, repeated: str = repeated) -> None:
            parse(made(name, START.get(what, "") + repeated * (size // len(repeated))))

        # What takes next to no time at its largest needs no closer look.
        if cost(lambda: run(SIZES[-1]), 1) > 0.02:
            check_growth(run, *SIZES)
            worst = max(worst, check_cost(lambda: run(SIZES[0]), 0.005))
    figure(f"{what}: {worst.figure()} per 8 KiB")


@pytest.mark.bare
@pytest.mark.case("A30")
@pytest.mark.parametrize("repeated", ["a=1&", "&", "=", "%", "%20", "+", "a", ";", "\xff"])
def test_queries_and_forms_are_parsed_in_linear_time(repeated: str, figure: Figure) -> None:
    def query(size: int) -> None:
        found = made("accept", "")
        found.query_string = repeated.encode("latin-1") * (size // len(repeated))
        assert found.args is not None

    def form(size: int) -> None:
        body = repeated.encode("latin-1") * (size // len(repeated))
        parser = Request.form_data_parser_class(max_form_memory_size=None)
        parser.max_form_fields = None
        parser.parse(io.BytesIO(body), FORM, None, {})

    check_growth(query, *SIZES)
    worst = check_cost(lambda: query(SIZES[0]), 0.005)
    figure(f"query {repeated!r}: {worst.figure()} per 8 KiB")
    check_growth(form, 32 * KIB, 256 * KIB)
    worst = check_cost(lambda: form(256 * KIB), 0.15)
    figure(f"form {repeated!r}: {worst.figure(4)} per MiB")


# -- what a form means -------------------------------------------------------------------------

DISPOSITION = b"--x\r\nContent-Disposition: form-data; "
MEANINGS: list[tuple[str, bytes, dict[str, str]]] = [
    (BOUNDARY, DISPOSITION + b"name=\"comment\"; name*=utf-8''role", {"comment": "v"}),
    (BOUNDARY, DISPOSITION + b"name*=utf-8''role; name=\"comment\"", {"comment": "v"}),
    (BOUNDARY, DISPOSITION + b'name="comment"; name*0=ro; name*1=le', {"comment": "v"}),
    (BOUNDARY, DISPOSITION + b"name*=utf-8''caf%C3%A9", {"caf\u00e9": "v"}),
    (BOUNDARY, DISPOSITION + b'name="a; name*=b"', {"a; name*=b": "v"}),
    (BOUNDARY, DISPOSITION + b'name="a*"', {"a*": "v"}),
    (BOUNDARY, DISPOSITION + b'name="a"\r\nContent-Transfer-Encoding: base64', {"a": "v"}),
    (BOUNDARY, DISPOSITION + b'name="a"\r\nContent-Type: text/x; charset=rot13', {"a": "v"}),
    (BOUNDARY, DISPOSITION + b'name="a"\r\n : x\r\nno colon', {"a": "v"}),
    (FORM, b"role=user&x=;role=admin", {"role": "user", "x": ";role=admin"}),
    (FORM, b"a;" * 500, {"a;" * 500: ""}),
]


@both_transports
@both_colours
@pytest.mark.case("A22")
@pytest.mark.parametrize("content_type, body, expected", MEANINGS)
async def test_a_form_has_one_meaning(
    app: Flask,
    content_type: str,
    body: bytes,
    expected: dict[str, str],
    colour: str,
    transport: str,
) -> None:
    add(app, colour, lambda: dict(request.form))
    if content_type == BOUNDARY:
        body += b"\r\n\r\nv\r\n--x--\r\n"
    status, data = await send(app, transport, body, -1, content_type)
    assert (status, json.loads(data)) == (200, expected)


CHARSETS = {
    "": "\ufffdA",
    "utf-8": "\ufffdA",
    "us-ascii": "\ufffdA",
    "iso-8859-1": "\xe9A",
    "ISO-8859-1": "\xe9A",
    '"iso-8859-1"': "\xe9A",
    # UTF-8 is taken for what no client of today sends.
    "utf-16": "\ufffdA",
    "latin-1": "\ufffdA",
    "rot13": "\ufffdA",
}


@both_transports
@both_colours
@pytest.mark.case("A22")
@pytest.mark.parametrize("charset", CHARSETS)
async def test_a_field_is_decoded_by_its_own_charset(
    app: Flask, charset: str, colour: str, transport: str
) -> None:
    add(app, colour, lambda: dict(request.form))
    suffix = f"; charset={charset}".encode() if charset else b""
    body = (
        DISPOSITION + b'name="a"\r\nContent-Type: text/plain' + suffix + b"\r\n\r\n\xe9A\r\n"
        + DISPOSITION + b'name="b"\r\n\r\n\xc3\xa9\r\n--x--\r\n'
    )
    status, data = await send(app, transport, body, -1, BOUNDARY)
    assert (status, json.loads(data)) == (200, {"a": CHARSETS[charset], "b": "\xe9"})


async def test_a_file_may_have_an_extended_name(app: Flask) -> None:
    add(app, "async", lambda: request.files["f"].filename or "")
    body = DISPOSITION + b"name=f; filename=plain; filename*=utf-8''caf%C3%A9\r\n\r\nv\r\n--x--\r\n"
    assert await send(app, "asgi", body, -1, BOUNDARY) == (200, "caf\u00e9".encode())


@both_transports
@both_colours
@pytest.mark.case("A22")
async def test_what_is_compressed_stays_so(app: Flask, colour: str, transport: str) -> None:
    body = gzip.compress(b"a=" + bytes(10 * MIB))

    def view() -> bytes:
        assert len(request.get_data()) == len(body)
        return request.get_data()

    add(app, colour, view)
    app.before_request(lambda: request.environ.update(HTTP_CONTENT_ENCODING="gzip"))
    assert await send(app, transport, body, -1, FORM) == (200, body)


WHOLE = multipart(("a", None, b"1"), ("f", "n", b"2"), ("b", None, b"3"))
CUTS = [*range(len(WHOLE) + 1)]


@both_colours
@pytest.mark.case("A20")
async def test_a_form_that_breaks_off_is_none_and_a_whole_one_keeps_its_last_field(
    app: Flask, colour: str
) -> None:
    add(app, colour, lambda: f"{sorted(request.form.items())} {len(request.files)}")
    for end in CUTS:
        status, data = await send(app, "asgi", [WHOLE[:end]], -1, BOUNDARY)
        # The last line break says nothing that the dashes have not said.
        whole = end >= len(WHOLE) - 2
        expected = b"[('a', '1'), ('b', '3')] 1" if whole else b"[] 0"
        assert (status, data) == (200, expected), end


# -- JSON --------------------------------------------------------------------------------------

JSON = "application/json"
HOSTILE: dict[str, tuple[bytes, int, bytes]] = {
    "deep lists": (b"[" * 100_000, 400, b""),
    "deep objects": (b'{"a":' * 50_000, 400, b""),
    "deep and whole": (b"[" * 100_000 + b"]" * 100_000, 400, b""),
    "very deep": (b"[" * 10**6, 400, b""),
    "deep in a long one": (b"[" + b"1," * 200_000 + b"[" * 100_000, 400, b""),
    "not a number": (b"NaN", 200, b"nan"),
    "infinity": (b"[-Infinity]", 200, b"[-inf]"),
    "a key twice": (b'{"a": 1, "a": 2}', 200, b"{'a': 2}"),
    "half a character": (rb'"\ud800"', 200, rb"'\ud800'"),
    "nothing": (b"", 400, b""),
    "blanks": (b" \r\n", 400, b""),
    "a comma at the end": (b"[1,]", 400, b""),
    "a long list with a comma at the end": (b"[" + b"1," * 200_000 + b"]", 400, b""),
    "a long object without a value": (b'{"a": ' + b" " * 400_000 + b"}", 400, b""),
    "more behind": (b"1 2", 400, b""),
    "UTF-16": ('"\u2603"'.encode("utf-16"), 200, rb"'\u2603'"),
    "UTF-16 without a mark": ('["\u2603"]'.encode("utf-16-be"), 200, rb"['\u2603']"),
    "UTF-32": ('"\u2603"'.encode("utf-32"), 200, rb"'\u2603'"),
    "UTF-8 with a mark": ('"\u2603"'.encode("utf-8-sig"), 200, rb"'\u2603'"),
    "half of UTF-16": ('"\u2603"'.encode("utf-16")[:-1], 400, b""),
    "0xFF": (b"\xff", 400, b""),
    "0xFF in a string": (b'"\xff"', 400, b""),
    "a control character": (b'"\x00"', 400, b""),
    "5,000 digits": (b"9" * 5000, 400, b""),
    "5,000 digits in a long one": (b"[" + b"1," * 200_000 + b"9" * 5000 + b"]", 400, b""),
    "a huge exponent": (b"1e999999", 200, b"inf"),
}


@both_transports
@both_colours
@pytest.mark.case("A29")
@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_json_is_parsed_or_refused(
    app: Flask, kind: str, colour: str, transport: str
) -> None:
    body, status, expected = HOSTILE[kind]
    add(app, colour, lambda: ascii(request.get_json()))
    found, data = await send(app, transport, body, -1, JSON)
    assert found == status
    if status == 200:
        assert data == expected


@both_transports
@both_colours
@pytest.mark.case("A29")
@pytest.mark.parametrize("content_type", ["text/plain", "", FORM, "application/jsonx", "json"])
async def test_what_is_not_said_to_be_json_is_none(
    app: Flask, content_type: str, colour: str, transport: str
) -> None:
    add(app, colour, lambda: ascii(request.get_json()))
    assert (await send(app, transport, b"[1]", -1, content_type))[0] == 415


LONG_JSON: list[t.Any] = [
    [],
    {},
    [{"a": [n, -1.5e3, None, True, "x\u2603\\\"", {}]} for n in range(10_000)],
    {str(n): {"a": [[[[n]]]], "": ""} for n in range(10_000)},
    {"data": {"items": [["x" * 30_000, {"y": "z" * 20_000}]] * 20}},
    ["[" * 20_000, "]}" * 20_000, ",\"" * 20_000] * 5,
    [[[[[[[[[[[[list(range(60_000))]]]]]]]]]]]],
    "x" * 10**6,
]


@pytest.mark.case("A13", "A29")
@pytest.mark.parametrize("indent", [None, 1])
def test_long_json_is_read_as_short_json_is(app: Flask, indent: int | None) -> None:
    for value in LONG_JSON:
        text = " " * 300_000 + json.dumps(value, indent=indent)
        assert app.json.loads(text) == app.json.loads(text.encode()) == value


@pytest.mark.case("A29")
@pytest.mark.parametrize("tail", ["", "1", "1,]", '{"a"', '{"a" 1}]', '"x', "tru]", "1]]", "-"])
def test_what_is_wrong_with_long_json_is_told_as_json_tells_it(app: Flask, tail: str) -> None:
    text = "[" + "[0, 1], " * 50_000 + tail
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as caught:
        app.json.loads(text)
    assert str(caught.value) == str(expected.value)


TAILS = (
    *("1", "-1.5e-30", "true", "null", "[]", "{}", "[[1], {}]", '{"a": {"b": 2}}', '"]"', '"}"'),
    *(r'"\\"', r'"\""', r'"\\\""', r'"\u2603"', r'"\ud83d\ude00]"'),
    *('"\u2603"', '"\U0001f600"', "1 ", "[ ]\n"),
)


@pytest.mark.case("A29")
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("size", [256, 1024, 4096, 16 * KIB])
def test_what_ends_about_where_a_piece_ends_is_read_whole(size: int, tail: str) -> None:
    for start, end in (('["', "]"), ('{"a": "x", "', "}")):
        middle = '", ' if end == "]" else '": '
        for length in range(size - 3, size + 4):
            padding = "x" * (length - len(start + middle + tail + end))
            value = start + padding + middle + tail + end
            assert len(value) == length
            for text in (value, f"[{value},{value}, 1]", f'{{"a":{value},"b":{value}}}'):
                assert pieces.loads(text) == json.loads(text)


@pytest.mark.case("A29")
@pytest.mark.parametrize("size", range(1, 24))
def test_wherever_a_piece_ends_json_is_read_as_json_reads_it(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_SHORT", size)
    monkeypatch.setattr(pieces, "_ALONE", 4 * size)
    monkeypatch.setattr(pieces, "_PIECE", 8 * size)
    for tail in TAILS:
        text = f' [{tail}, [{tail},{tail}], {{"k": {tail} , "l":[{tail}]}}, [[[[{tail}]]]]] '
        assert pieces.loads(text) == pieces.loads(text.encode()) == json.loads(text)
        for end in range(len(text.rstrip())):
            assert outcome(pieces.loads, text[:end]) == outcome(json.loads, text[:end])
    for text in ('[{"a\n": [1, 2]}, 1]', '[["a\n", [1, 2]], 1]', '{"a": {"b": "\0"}, "c": 1}'):
        assert outcome(pieces.loads, text) == outcome(json.loads, text)


def outcome(loads: t.Callable[[str], t.Any], text: str) -> str:
    with pytest.raises(json.JSONDecodeError) as caught:
        loads(text)
    return str(caught.value)


leaves = st.sampled_from(
    [1, -2.5e3, None, True, "a", "],", "},{", "', '", '", "', "\\\"", "\u2603", 10**20, [], {}]
)
names = st.text('ab",:', max_size=4)
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20
)
separators = st.sampled_from([None, (",", ":"), (" , ", " : ")])


@pytest.mark.case("A29")
@given(values, st.integers(1, 30), st.sampled_from([None, 0, 1]), separators, st.data())
def test_long_json_is_whatever_json_says_it_is(
    value: t.Any,
    count: int,
    indent: int | None,
    separators: tuple[str, str] | None,
    data: st.DataObject,
) -> None:
    whole = value if count == 1 else [value] * count
    text = json.dumps(whole, indent=indent, separators=separators)
    place = data.draw(st.integers(0, len(text)))
    left = place + data.draw(st.integers(0, 1))
    text = text[:place] + data.draw(st.sampled_from(["", *'[]{},:"0 \\\n'])) + text[left:]
    with pytest.MonkeyPatch.context() as patch:
        size = data.draw(st.integers(1, 20))
        patch.setattr(pieces, "_SHORT", size)
        patch.setattr(pieces, "_ALONE", size * data.draw(st.sampled_from([1, 4])))
        patch.setattr(pieces, "_PIECE", size * data.draw(st.sampled_from([4, 64])))
        assert value_or_error(pieces.loads, text) == value_or_error(json.loads, text)


ROWS = {
    "numbers": [1] * 12,
    "strings": ["a"] * 12,
    "lists": [[1]] * 9,
    "objects": [{"a": "b"}] * 6,
    "mixed": [1, "a", []] * 4,
    "members": dict.fromkeys("abcdefghi", 1),
    "members of strings": dict.fromkeys("abcdefgh", "b"),
}


@pytest.mark.case("A29")
@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n ", ":")])
def test_what_is_in_the_way_of_a_guess_is_read_as_json_reads_it(
    kind: str, separators: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(ROWS[kind], separators=separators)
    monkeypatch.setattr(pieces, "_SHORT", 2)
    monkeypatch.setattr(pieces, "_ALONE", 2)
    monkeypatch.setattr(pieces, "_PIECE", 32)
    for place in range(len(text) + 1):
        for more in ("", ",", ", ", " ", "]", "}", "[", '"', "1", '"a": ', "[],"):
            changed = text[:place] + more + text[place:]
            assert value_or_error(pieces.loads, changed) == value_or_error(json.loads, changed)


def value_or_error(loads: t.Callable[[str], t.Any], text: str) -> t.Any:
    try:
        return loads(text)
    except json.JSONDecodeError as error:
        return str(error)


def repeated(item: str, first: str = "[") -> str:
    """Make a list of 1 MiB that has an item again and again."""
    return first + ",".join([item] * (MIB // (len(item) + 1))) + "]"


NUMBERS = "[" + "1," * 9000 + "1]"
#: Texts, and how much more than json's own reader may cost that reads them in pieces.
COSTLY: dict[str, tuple[str, float]] = {
    "lists": (repeated("[]"), 5),
    "objects": (repeated("{}"), 5),
    "objects by name": ("{" + ",".join([f'"{n}":{{}}' for n in range(100_000)]) + "}", 5),
    "lists behind a wide character": (repeated("[]", '["\u2603",'), 5),
    "lists behind a very wide character": (repeated("[]", '["\U0001f600",'), 5),
    "lists too long for the first piece": (repeated("[" + "1," * 150 + "1]"), 5),
    "lists too long for any piece": (repeated("[" + "[]," * 6000 + "1]"), 20),
    "deep lists": (repeated("[" * 300 + NUMBERS + "]" * 300), 25),
    "deep objects": (repeated('{"a":' * 300 + NUMBERS + "}" * 300), 25),
    "numbers": (repeated("1"), 5),
    "strings": (repeated('"abcdefgh"'), 5),
}


@pytest.mark.bare
@pytest.mark.case("A29", "A30")
@pytest.mark.parametrize("kind", COSTLY)
def test_pieces_do_not_multiply_what_long_json_costs(
    app: Flask, kind: str, figure: Figure
) -> None:
    text, factor = COSTLY[kind]
    seconds, usual = check_factor(
        lambda: app.json.loads(text), lambda: json.loads(text), factor
    )
    figure("A29", f"1 MiB of {kind}: {seconds * 1000:.0f} ms (json {usual * 1000:.0f} ms)")


@pytest.mark.parametrize("name", ["date", "if-modified-since", "if-unmodified-since", "if-range"])
def test_a_date_of_too_large_numbers_is_none(name: str) -> None:
    request = made(name, "Fri, 01 Jan 99999999999 00:00:00 GMT")
    value = getattr(request, name.replace("-", "_"))
    assert (value.date if name == "if-range" else value) is None


@given(st.lists(st.sampled_from(b"a=&+%;c38E9fF\xc3\xa9\xe2\x82\xf0\xff\x80")))
def test_bytes_that_are_not_utf_8_stay_encoded_as_werkzeug_has_it(query: list[int]) -> None:
    text = bytes(query).decode("utf-8", "werkzeug.url_quote")
    assert decode_query(bytes(query)) == text
    pairs = parse_qsl(text, keep_blank_values=True, errors="werkzeug.url_quote")
    assert parse_query(text) == pairs
