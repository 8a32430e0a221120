"""What signs session cookies gives what itsdangerous gives, and refuses what it refuses."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import typing as t
import zlib

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import BadData
from itsdangerous import BadSignature
from itsdangerous import Signer
from itsdangerous import TimestampSigner
from itsdangerous import URLSafeTimedSerializer

from asyncflask import signing
from asyncflask.json.tag import TaggedJSONSerializer
from asyncflask.signing import KeptSerializer

NOW = 1_790_000_000
MAX_AGE = 1000
OPTIONS: t.Final = {
    "salt": "cookie-session",
    "serializer": TaggedJSONSerializer(),
    "signer_kwargs": {"key_derivation": "hmac", "digest_method": hashlib.sha1},
}
VALUES = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=3),
    max_size=4,
)
KEYS = st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=3)
DIGESTS = st.sampled_from([hashlib.sha1, hashlib.sha256, hashlib.sha512, hashlib.sha3_256])
DERIVATIONS = st.sampled_from(["concat", "django-concat", "hmac", "none"])


@pytest.fixture(scope="module", autouse=True)
def frozen() -> t.Iterator[None]:
    """Make signatures of the same moment."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: NOW)
        yield


def pair(keys: t.Any = "secret", **options: t.Any) -> tuple[t.Any, t.Any]:
    """Give our serializer and itsdangerous's, made alike."""
    options = {**OPTIONS, **options}
    return KeptSerializer(keys, **options), URLSafeTimedSerializer(keys, **options)


def outcome(serializer: t.Any, text: t.Any, **options: t.Any) -> t.Any:
    """Give the value in a text, or what is said to be wrong with it."""
    try:
        return serializer.loads(text, **options)
    except BadData as error:
        shown = {name: vars(error).get(name) for name in ("message", "payload", "date_signed")}
        return type(error), shown
    except (ValueError, OverflowError) as error:
        # A year that Python does not know, or text that cannot be encoded.
        return type(error), str(error)


def sign_at(seconds: int, payload: bytes, ours: KeptSerializer) -> str:
    """Sign a payload as of another time."""
    stamp = signing._encode(seconds.to_bytes(12, "big").lstrip(b"\0"))
    signer = Signer(ours.secret_keys, salt=t.cast(bytes, ours.salt), **ours.signer_kwargs)
    return signer.sign(payload + b"." + stamp).decode()


@given(VALUES, KEYS, DIGESTS, DERIVATIONS)
def test_signed_texts_are_the_same(
    value: dict[str, t.Any], keys: list[bytes], digest: t.Any, derivation: str
) -> None:
    ours, theirs = pair(keys, signer_kwargs={"key_derivation": derivation, "digest_method": digest})
    text = theirs.dumps(value)
    assert ours.dumps(value) == text
    assert outcome(ours, text, max_age=MAX_AGE) == outcome(theirs, text, max_age=MAX_AGE)
    assert ours.signing() is not None


@given(VALUES, st.data())
def test_a_damaged_text_has_the_same_outcome(value: dict[str, t.Any], data: st.DataObject) -> None:
    ours, theirs = pair()
    text = theirs.dumps(value)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    damaged = text[:start] + data.draw(st.text("ab.=-_ +/é\ud800", max_size=3)) + text[end:]
    assert outcome(ours, damaged, max_age=MAX_AGE) == outcome(theirs, damaged, max_age=MAX_AGE)


@given(st.text())
@example("")
@example(".")
@example("..")
@example("a.b.c")
def test_junk_has_the_same_outcome(text: str) -> None:
    ours, theirs = pair()
    assert outcome(ours, text, max_age=MAX_AGE) == outcome(theirs, text, max_age=MAX_AGE)


@given(st.binary(max_size=40) | st.builds(zlib.compress, st.binary(max_size=40)), st.booleans())
def test_a_signed_payload_that_is_none_has_the_same_outcome(data: bytes, packed: bool) -> None:
    ours, theirs = pair()
    payload = signing._encode(data)
    text = sign_at(NOW, b"." + payload if packed else payload, ours)
    raw = sign_at(NOW, data, ours) if data.isascii() else text
    for signed in (text, raw):
        assert outcome(ours, signed, max_age=9) == outcome(theirs, signed, max_age=9)


@pytest.mark.parametrize(
    "age", [0, 1, MAX_AGE - 1, MAX_AGE, MAX_AGE + 1, -1, -(2**40), NOW, NOW - 255, -(2**70)]
)
def test_a_text_of_any_age_has_the_same_outcome(age: int) -> None:
    ours, theirs = pair()
    payload = signing._encode(b'{"a":1}')
    text = sign_at(NOW - age, payload, ours)
    for max_age in (None, 0, MAX_AGE, 2**80):
        expected = outcome(theirs, text, max_age=max_age)
        assert outcome(ours, text, max_age=max_age) == expected


@pytest.mark.parametrize("stamp", [b"", b"=", b"a", b"!", b"AAAAAAAAAAAAAAAA", b"AAAAAAAA\xff"])
def test_a_signed_stamp_that_is_none_has_the_same_outcome(stamp: bytes) -> None:
    ours, theirs = pair()
    signer = Signer(ours.secret_keys, salt=ours.salt, **ours.signer_kwargs)
    for value in (b"e30." + stamp, stamp):
        text = signer.sign(value).decode("latin-1")
        assert outcome(ours, text, max_age=2**70) == outcome(theirs, text, max_age=2**70)


def test_a_signature_in_another_spelling_is_left_to_itsdangerous() -> None:
    ours, theirs = pair()
    text = theirs.dumps({"a": 1})
    # 20 bytes leave two bits of the last character unused, and padding is optional.
    for spelled in (text + "=", text[:-1] + chr(ord(text[-1]) + 1), text.replace("-", "+")):
        assert outcome(ours, spelled, max_age=9) == outcome(theirs, spelled, max_age=9)


def test_an_older_key_reads_and_never_signs() -> None:
    ours, theirs = pair(["old", "new"])
    old = URLSafeTimedSerializer("old", **t.cast(t.Any, OPTIONS)).dumps({"a": 1})
    assert ours.loads(old, max_age=9) == {"a": 1}
    assert ours.dumps({"a": 1}) == theirs.dumps({"a": 1}) != old


def test_arguments_that_are_rare_go_the_long_way() -> None:
    ours, theirs = pair()
    text = ours.dumps({"a": 1}, salt="other")
    assert text == theirs.dumps({"a": 1}, salt="other")
    assert ours.loads(text, max_age=9, salt="other") == {"a": 1}
    assert ours.loads(text.encode(), salt="other") == {"a": 1}
    with pytest.raises(BadSignature):
        ours.loads(text, max_age=9)
    with_time = ours.loads(ours.dumps({"a": 1}), max_age=9, return_timestamp=True)
    assert with_time == theirs.loads(theirs.dumps({"a": 1}), return_timestamp=True)


class Marked(TimestampSigner):
    """A signer that is not itsdangerous's own."""

    def get_signature(self, value: str | bytes) -> bytes:
        return b"marked" + super().get_signature(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("salt", b"other"),
        ("secret_keys", [b"other"]),
        ("signer", Marked),
        ("signer_kwargs", {"key_derivation": "concat"}),
        ("serializer_kwargs", {"indent": 1}),
        ("serializer", json),
        ("is_text_serializer", False),
    ],
)
def test_an_attribute_that_is_set_later_counts(name: str, value: t.Any) -> None:
    ours, theirs = pair(serializer=json)
    assert ours.dumps({"a": 1}) == theirs.dumps({"a": 1})
    for serializer in (ours, theirs):
        setattr(serializer, name, value)
    assert ours.dumps({"a": 1}) == theirs.dumps({"a": 1})


def test_what_is_changed_in_place_counts() -> None:
    ours, theirs = pair(signer_kwargs={"key_derivation": "hmac"})
    texts = set()
    for change in (
        lambda serializer: None,
        lambda serializer: serializer.secret_keys.append(b"newest"),
        lambda serializer: serializer.signer_kwargs.update(digest_method=hashlib.sha256),
    ):
        change(ours), change(theirs)
        texts.add(ours.dumps({}))
        assert ours.dumps({}) == theirs.dumps({})
    assert len(texts) == 3


@pytest.mark.parametrize(
    "signer_kwargs",
    [
        {"key_derivation": "unknown"},
        {"digest_method": "sha1"},
        {"digest_method": hashlib},
        {"algorithm": object()},
        {"sep": ":"},
    ],
    ids=str,
)
def test_settings_of_any_kind_have_the_same_outcome(signer_kwargs: dict[str, t.Any]) -> None:
    results = []
    for serializer in pair(signer_kwargs=signer_kwargs):
        steps: list[t.Any] = []
        for step in (lambda: serializer.dumps({"a": 1}), lambda: serializer.loads("a.b.c")):  # noqa: B023
            try:
                steps.append(step())
            except Exception as error:
                steps.append((type(error), str(error)))
        results.append(steps)
    assert results[0] == results[1]


def test_a_serializer_of_bytes_goes_the_long_way() -> None:
    class Bytes:
        dumps = staticmethod(lambda value: repr(value).encode())
        loads = staticmethod(lambda data: data.decode())

    ours, theirs = pair(serializer=Bytes())
    text = ours.dumps(1)
    assert text == theirs.dumps(1)
    assert ours.loads(text, max_age=9) == "1"


def test_an_error_in_loading_is_itsdangerouss() -> None:
    ours, theirs = pair(serializer=json)
    text = sign_at(NOW, signing._encode(b"{"), ours)
    for serializer in (ours, theirs):
        with pytest.raises(BadData) as caught:
            serializer.loads(text, max_age=9)
        assert type(caught.value.original_error) is json.JSONDecodeError


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=50), DIGESTS)
def test_the_hashes_are_those_of_an_hmac(key: bytes, value: bytes, digest: t.Any) -> None:
    inner, outer = signing._begin_hmac(key, digest)
    inner.update(value)
    outer.update(inner.digest())
    assert outer.digest() == hmac.digest(key, value, functools.partial(digest))


# Texts that repeat themselves, and some whose hashes in zlib's tables collide.
LITTLE = st.text(alphabet="aq1A!", max_size=600)
PIECES = st.lists(st.sampled_from(["aa", "qa", "abc", "qbc", '{"a":', "0123"]), max_size=150)


@given(st.binary(max_size=800) | LITTLE.map(str.encode) | PIECES.map("".join).map(str.encode))
@example(b"a" * 11)
@example(b"a" * 12)
@example(b"a" * 512)
@example(b"a" * 513)
def test_what_shrinks_is_compressed_and_nothing_else(data: bytes) -> None:
    ours, theirs = pair()
    ours.serializer = theirs.serializer = type("Plain", (), {"dumps": staticmethod(lambda x: x)})
    text = data.decode("latin-1")
    assert ours.dumps(text) == theirs.dumps(text)
    assert len(zlib.compress(data)) >= len(data) - 1 or signing._may_shrink(data)


@given(VALUES)
def test_a_name_that_is_in_a_value_is_never_missed(value: dict[str, t.Any]) -> None:
    ours, _ = pair()
    text = ours.dumps({**value, "_permanent": True})
    assert signing.may_contain(text, b"_permanent")
    assert isinstance(signing.may_contain(text[1:], b"_permanent"), bool)


@given(st.text())
def test_junk_may_contain_anything_or_nothing(text: str) -> None:
    text = text.encode("utf-8", "replace").decode("latin-1")
    assert signing.may_contain(text, b"_permanent") in (True, False)


def test_a_short_text_without_the_name_does_not_contain_it() -> None:
    ours, _ = pair()
    assert not signing.may_contain(ours.dumps({"user": 1}), b"_permanent")
