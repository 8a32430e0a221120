"""The deliberate differences: the only ones that generated requests may show."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import typing as t
from dataclasses import dataclass
from dataclasses import field

from markupsafe import escape
from werkzeug.http import parse_date

from asyncflask import wrappers

from .application import VARIANTS
from .asked import Asked


@dataclass
class Outcome:
    """What came back.

    :param line: the status as WSGI has it, with its reason.
    :param raised: what the application raised to the server, which then says 500.
    """

    status: int
    line: str = ""
    headers: list[tuple[str, t.Any]] = field(default_factory=list)
    body: bytes = b""
    raised: str | None = None
    seconds: float = 0.0

    def header(self, name: str) -> t.Any:
        """Give a header, empty if it is not there."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def compared(self) -> tuple[object, ...]:
        """What must be equal."""
        return self.status, self.headers, self.body, self.raised


class Case(t.NamedTuple):
    """One request, and what became of it on both sides."""

    asked: Asked
    flask: Outcome
    ours: Outcome
    way: tuple[str, str]
    variant: str
    #: Has Flask answer another request.
    ask_flask: t.Callable[[Asked], Outcome]


@dataclass(frozen=True)
class Rule:
    """A difference that is meant to be.

    :param reason: why, as docs/differences.md has it.
    :param holds: tells whether a difference is this one and nothing more.
    """

    name: str
    reason: str
    holds: t.Callable[[Case], bool]


# RFC 9110, sections 5.1, 5.5 and 15, and RFC 6265, section 4.1.1.
_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_is_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
_is_status = re.compile(r"[2-9][0-9]{2}( .*)?").fullmatch


def known(case: Case) -> str | None:
    """Give the name of the rule that explains a difference: empty for none, ``None`` if unknown."""
    if case.flask.compared == case.ours.compared and case.ours.line in ("", case.flask.line):
        return ""
    return next((rule.name for rule in RULES if rule.holds(case)), None)


# -- what explains a difference ------------------------------------------------------------------


def _relative_location(case: Case) -> bool:
    """Flask's Location is the very same, behind a scheme and a host; so is the body's link."""
    flask, ours = case.flask, case.ours
    if flask.status != ours.status or ours.status not in (301, 308):
        return False
    location = ours.header("location")
    origin = flask.header("location").removesuffix(location)
    if not re.fullmatch("https?://[^/]*", origin) or not re.match("/(?!/)", location):
        return False
    differing = ("location", "content-length")
    if _without(flask, *differing) != _without(ours, *differing):
        return False
    link = re.compile(rb'(href="|">)' + re.escape(escape(origin).encode()))
    return link.sub(rb"\1", flask.body) == ours.body


def _raw_query(case: Case) -> bool:
    """The answer is the one Flask has for the same query in percent-encoding."""
    query = _quoted(case.asked.query)
    if query == case.asked.query:
        return False
    path = case.asked.target.partition(b"?")[0]
    asked = dataclasses.replace(case.asked, target=path + b"?" + query)
    encoded = case._replace(asked=asked, flask=case.ask_flask(asked))
    as_it_was = case.asked.query.decode("latin-1")
    return known(encoded) is not None or _same_but(
        encoded,
        lambda theirs, mine: (
            isinstance(mine, str) and theirs == mine.replace(as_it_was, query.decode("latin-1"))
        ),
    )


def _empty_path(case: Case) -> bool:
    """The answer is the one Flask has for the path "/"."""
    path, mark, query = case.asked.target.partition(b"?")
    if path or case.asked.root or case.way[0] != "asgi":
        return False
    return _known_for(case, dataclasses.replace(case.asked, target=b"/" + mark + query))


def _quoted(query: bytes) -> bytes:
    """Percent-encode what is not UTF-8."""
    text = query.decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text).encode()


def _loaded_limit(case: Case) -> bool:
    """An async view that is not even called, as its body is too large to be loaded."""
    return case.way[1] == "async" and _is_over_limit(case) and case.ours.status == 413


def _chunked_limit(case: Case) -> bool:
    """A body of unknown length over the limit, of which Flask takes the beginning for the whole."""
    if case.asked.sized or not _is_over_limit(case):
        return False
    return _is_refused(case)


def _read_twice(case: Case) -> bool:
    """A long body that was parsed before its async view, which looks at it more than once."""
    if case.way[1] != "async" or len(case.asked.body) <= wrappers.PARSE_OFF_LOOP:
        return False
    looks = case.asked.path.count(b"-") > 0
    return looks and _same_but(case, lambda theirs, mine: _is_nothing(theirs))


def _is_refused(case: Case) -> bool:
    """Whether the client, or the view, is told that something is too large."""
    ours = case.ours
    return ours.status == 413 or b"RequestEntityTooLarge" in ours.body or _differs_unseen(case)


def _is_over_limit(case: Case) -> bool:
    limit = VARIANTS[case.variant].get("MAX_CONTENT_LENGTH", sys.maxsize)
    if case.asked.path.lstrip(b"/").startswith(b"limited/"):
        limit = 30
    return len(case.asked.body) > limit


def _form_limits(case: Case) -> bool:
    """An urlencoded form with too many fields, or with one that is too long."""
    if not re.match("application/x-www-form-urlencoded", case.asked.header("content-type"), re.I):
        return False
    fields = case.asked.body.split(b"&")
    size = VARIANTS[case.variant].get("MAX_FORM_MEMORY_SIZE", 2000)
    if case.asked.path.lstrip(b"/").startswith(b"limited/"):
        size = 10
    if len(fields) <= 40 and max(map(len, fields)) <= size:
        return False
    return _is_refused(case)


def _part_headers(case: Case) -> bool:
    """A part of a multipart form whose headers are longer than 8 KiB."""
    if not case.asked.header("content-type").lower().startswith("multipart/"):
        return False
    if re.search(rb"[^\r\n]{8192}", case.asked.body) is None:
        return False
    return _is_refused(case)


def _two_hosts(case: Case) -> bool:
    hosts = [value for name, value in case.asked.headers if name.lower() == "host"]
    return "," in ",".join(hosts) and case.ours.status == 400


def _deep_json(case: Case) -> bool:
    """A RecursionError of Flask's, at the bottom of a deep body."""
    if case.asked.body.replace(b"\0", b"").count(b"[") + case.asked.body.count(b"{") < 500:
        return False
    if case.flask.status == 500:
        return case.ours.status == 400 or case.ours.body == b"null\n"
    return _same_but(
        case,
        lambda theirs, mine: (
            theirs == ["raised", "RecursionError"] and mine in (None, ["raised", "BadRequest", 400])
        ),
    )


def _odd_host(case: Case) -> bool:
    """Hosts that Python's IDNA cannot decode, or encode."""
    return "xn--" in case.asked.header("host").lower() and _same_but(
        case,
        lambda theirs, mine: (
            theirs in (["raised", "UnicodeError"], ["raised", "UnicodeDecodeError"])
        ),
    )


def _odd_credentials(case: Case) -> bool:
    return not case.asked.header("authorization").isascii() and _same_but(
        case, lambda theirs, mine: theirs == ["raised", "ValueError"]
    )


def _large_date(case: Case) -> bool:
    """A date that is an OverflowError of Flask's: here the request is as one without it."""
    headers = tuple(pair for pair in case.asked.headers if not _is_large_date(*pair))
    if len(headers) == len(case.asked.headers):
        return False
    if case.flask.status != 500:
        return _same_but(case, lambda theirs, mine: theirs == ["raised", "OverflowError"])
    if _is_large_date("if-range", case.asked.header("if-range")):
        headers = tuple(pair for pair in headers if pair[0].lower() != "range")
    without = dataclasses.replace(case.asked, headers=headers)
    return known(case._replace(asked=without, flask=case.ask_flask(without))) is not None


def _is_large_date(name: str, value: str) -> bool:
    if name.lower() not in ("date", "if-modified-since", "if-unmodified-since", "if-range"):
        return False
    try:
        parse_date(value)
    except OverflowError:
        return True
    return False


def _unsendable(case: Case) -> bool:
    """A response that no server can send: Flask leaves it to the server to find out."""
    error = b"" if _is_head(case) else b"Internal Server Error"
    if (case.ours.status, case.ours.body) != (500, error):
        return False
    if _is_status(case.flask.line) is None or not _is_value(case.flask.line):
        return True
    for name, value in case.flask.headers:
        if name == "set-cookie":
            value = "=".join(value[:2])
            if not re.fullmatch("[^=;]*[^=;\\s][^=;]*=.*", value):
                return True
        if _is_token(name) is None or _is_value(value) is None:
            return True
    return False


def _wrong_length(case: Case) -> bool:
    """A Content-Length that the view has set, and that is not the body's."""
    lengths = [value for name, value in case.flask.headers if name == "content-length"]
    if case.ours.status != 500 or not lengths:
        return False
    if _is_head(case):
        return len(lengths) > 1 or not lengths[0].isdecimal() or not lengths[0].isascii()
    return lengths != [str(len(case.flask.body))]


def _weak_range(case: Case) -> bool:
    """The whole file, so Flask's answer to the request without its Range."""
    headers = tuple(pair for pair in case.asked.headers if pair[0].lower() != "range")
    if headers == case.asked.headers or not case.asked.header("if-range").startswith("W/"):
        return False
    return _known_for(case, dataclasses.replace(case.asked, headers=headers))


def _two_names(case: Case) -> bool:
    """The answer is the one Flask has where a part's ``name*`` is called something else."""
    body = re.sub(rb"(?i)(?<!file)n(ame\*)", rb"x\1", case.asked.body)
    if body == case.asked.body or not case.asked.header("content-type").startswith("multipart/"):
        return False
    asked = dataclasses.replace(case.asked, chunks=(body,))
    answer = case.ask_flask(asked)
    answer.body = answer.body.replace(b"xame*", b"name*")
    return known(case._replace(asked=asked, flask=answer)) is not None


def _known_for(case: Case, asked: Asked) -> bool:
    """Whether the answer is the one Flask has for another request."""
    return known(case._replace(asked=asked, flask=case.ask_flask(asked))) is not None


# -- comparing ---------------------------------------------------------------------------------


def _without(outcome: Outcome, *names: str) -> list[tuple[str, t.Any]]:
    return [(name, value) for name, value in outcome.headers if name not in names]


def _is_head(case: Case) -> bool:
    return case.asked.method.upper() == "HEAD"


def _differs_unseen(case: Case) -> bool:
    """Whether nothing but the length differs, of a body that HEAD does not show."""
    flask, ours = case.flask, case.ours
    if not _is_head(case) or flask.status != ours.status:
        return False
    return _without(flask, "content-length") == _without(ours, "content-length")


def _same_but(case: Case, but: t.Callable[[t.Any, t.Any], bool]) -> bool:
    """Whether both answers are the same but for values in their JSON."""
    flask, ours = case.flask, case.ours
    if _differs_unseen(case):
        return True
    if flask.status != ours.status:
        return False
    if _without(flask, "content-length") != _without(ours, "content-length"):
        return False
    try:
        return _same_values(json.loads(flask.body), json.loads(ours.body), but)
    except ValueError:
        return False


def _is_nothing(value: t.Any) -> bool:
    """Whether this is what a view gets to see of an empty body."""
    return value in ("", [], None, ["raised", "BadRequest", 400])


def _same_values(theirs: t.Any, mine: t.Any, but: t.Callable[[t.Any, t.Any], bool]) -> bool:
    if theirs == mine or but(theirs, mine):
        return True
    if isinstance(theirs, dict) and isinstance(mine, dict) and theirs.keys() == mine.keys():
        return all(_same_values(theirs[key], mine[key], but) for key in theirs)
    if isinstance(theirs, list) and isinstance(mine, list) and len(theirs) == len(mine):
        return all(_same_values(a, b, but) for a, b in zip(theirs, mine, strict=True))
    return False


RULES = (
    Rule(
        "relative Location",
        "Redirects of the URL map do not reflect the Host header, which the client chooses.",
        _relative_location,
    ),
    Rule(
        "raw bytes in the query",
        "Flask fails to decode a query with bytes that are not UTF-8, here they stay encoded.",
        _raw_query,
    ),
    Rule(
        "no path at all",
        "It is the same as the path '/' (RFC 3986, section 6.2.3); Flask redirects there.",
        _empty_path,
    ),
    Rule(
        "body too large to be loaded",
        "An async view's body is loaded before it, and if it is too large the view is not called.",
        _loaded_limit,
    ),
    Rule(
        "body read twice",
        "A long body of an async view is parsed before, and is there however often it is read.",
        _read_twice,
    ),
    Rule(
        "chunked body over the limit",
        "It is a 413, as with a Content-Length; Flask takes the beginning for the whole.",
        _chunked_limit,
    ),
    Rule(
        "limits of urlencoded forms",
        "MAX_FORM_FIELDS is new, and MAX_FORM_MEMORY_SIZE holds for urlencoded forms as well.",
        _form_limits,
    ),
    Rule(
        "long headers of a part",
        "The headers of a part of a multipart form may have 8 KiB.",
        _part_headers,
    ),
    Rule(
        "two hosts",
        "A request with two Host headers gets a 400; Flask has an empty host then.",
        _two_hosts,
    ),
    Rule(
        "JSON nested too deep",
        "It is a 400; Flask has a RecursionError, so a 500.",
        _deep_json,
    ),
    Rule(
        "host that cannot be decoded",
        "request.url raises nothing for a host in broken Punycode.",
        _odd_host,
    ),
    Rule(
        "credentials that are not ASCII",
        "request.authorization raises nothing for them.",
        _odd_credentials,
    ),
    Rule(
        "date of too large numbers",
        "It counts as not sent; Flask has an OverflowError, so a 500.",
        _large_date,
    ),
    Rule(
        "response that cannot be sent",
        "A status or header that cannot be sent is a 500; Flask leaves them to the server.",
        _unsendable,
    ),
    Rule(
        "Content-Length of another body",
        "It is a 500, as is a second one; Flask leaves that to the server.",
        _wrong_length,
    ),
    Rule(
        "If-Range with a weak tag",
        "Such a tag never asks for a part of a file (RFC 9110, section 13.1.5).",
        _weak_range,
    ),
    Rule(
        "two names of a part",
        "A part's plain name wins over a name*, which RFC 7578 does not allow.",
        _two_names,
    ),
)
