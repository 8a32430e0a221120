"""Signed texts as itsdangerous makes and reads them, with what it makes anew each time kept."""

from __future__ import annotations

import hmac
import typing as t
import zlib
from binascii import a2b_base64
from binascii import b2a_base64

from itsdangerous import TimestampSigner
from itsdangerous import URLSafeTimedSerializer
from itsdangerous.signer import HMACAlgorithm

_INCOMPRESSIBLE: t.Final = 12
"""Bytes below which no text gets shorter by two: a zlib stream has six bytes besides its block,
and one that repeats anything has 30 bits in it."""
_SHORT: t.Final = 512
"""Bytes up to which zlib finds with a small window what it finds with a large one. In small
tables it may miss some of a lot of repetitions, with which a text gets shorter in any case."""
_VERY_SHORT: t.Final = 126
"""Bytes up to which the smallest tables that there are hold the whole text."""

_INNER: t.Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: t.Final = bytes(byte ^ 0x5C for byte in range(256))

_TO_URL: t.Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: t.Final = bytes.maketrans(b"-_", b"+/")
_STAMP_LENGTH: t.Final = 11
"""Characters of a time stamp of 64 bits, at most."""


class KeptSerializer(URLSafeTimedSerializer):
    """itsdangerous's serializer, which derives its keys once and not for each text.

    Only where nothing is out of the ordinary: any other text, argument or attribute goes the
    long way, which also says what is wrong with a text.
    """

    _kept: tuple[t.Any, Signing | None] | None = None

    def dumps(self, obj: t.Any, salt: str | bytes | None = None) -> str:
        """Serialize and sign a value.

        :param salt: instead of the serializer's own.
        """
        signing = self.signing() if salt is None else None
        if signing is None:
            return super().dumps(obj, salt)
        return signing.sign(self.serializer.dumps(obj))

    def loads(  # type: ignore[override]
        self,
        s: str | bytes,
        max_age: int | None = None,
        return_timestamp: bool = False,
        salt: str | bytes | None = None,
    ) -> t.Any:
        """Verify a text and read the value.

        :param max_age: seconds since it was signed.
        :param return_timestamp: whether to give a pair, with the time it was signed.
        :param salt: instead of the serializer's own.
        :raises BadSignature: if it is not signed by one of the keys, or too old.
        """
        if salt is None and max_age is not None and not return_timestamp and type(s) is str:
            signing = self.signing()
            try:
                text = None if signing is None else signing.verified(s, max_age)
                if text is not None:
                    return self.serializer.loads(text)
            except Exception:
                # The long way meets it as well, and has an error of its own for it.
                text = None
        return super().loads(s, max_age, return_timestamp, salt)

    def signing(self) -> Signing | None:
        """Give what signs, ``None`` if that is not itsdangerous's default."""
        kept = self._kept
        settings = (
            self.secret_keys,
            self.salt,
            self.signer,
            self.signer_kwargs,
            self.serializer_kwargs,
            self.is_text_serializer,
        )
        if kept is None or kept[0] != settings:
            # Lists and dicts that are changed in place must not change here as well.
            copies = ([*settings[0]], *settings[1:3], {**settings[3]}, {**settings[4]}, settings[5])
            kept = self._kept = (copies, self._new_signing())
        return kept[1]

    def _new_signing(self) -> Signing | None:
        if not self.is_text_serializer or self.serializer_kwargs:
            return None
        try:
            signer = self.make_signer()
            if type(signer) is TimestampSigner and type(signer.algorithm) is HMACAlgorithm:
                return Signing(signer, signer.algorithm.digest_method)
        except Exception:
            # Settings that cannot be used: the long way finds out when it comes to it.
            return None
        return None


class Signing:
    """Signs with the newest key, and recognizes what that has signed.

    :param signer: makes the same signatures.
    :param digest_method: the hash function of the signatures.
    """

    def __init__(self, signer: TimestampSigner, digest_method: t.Any) -> None:
        self._signer = signer
        self._sep = signer.sep
        self._inner, self._outer = _begin_hmac(signer.derive_key(), digest_method)
        self._stamp = (-1, b"")

    def _signature(self, value: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(value)
        outer = self._outer.copy()
        outer.update(inner.digest())
        # As _encode() does, which is a call for each signature.
        return b2a_base64(outer.digest(), newline=False).translate(_TO_URL).rstrip(b"=")

    def sign(self, text: str) -> str:
        """Give a text in the form in which it is sent, with the time and the signature."""
        now = self._signer.get_timestamp()
        stamp = self._stamp
        if stamp[0] != now:
            raw = now.to_bytes(8, "big").lstrip(b"\0")
            # One assignment of a pair: another thread sees all of it or nothing.
            stamp = self._stamp = (now, self._sep + _encode(raw))
        value = _pack(text.encode()) + stamp[1]
        return (value + self._sep + self._signature(value)).decode()

    def verified(self, signed: str, max_age: int) -> str | None:
        """Give what was signed; ``None`` if it was not, not with this key, or too long ago.

        :raises Exception: of one kind or another if what was signed is no text.
        """
        value, _, signature = signed.encode().rpartition(self._sep)
        if not hmac.compare_digest(signature, self._signature(value)):
            return None
        payload, sep, stamp = value.rpartition(self._sep)
        if not sep or len(stamp) > _STAMP_LENGTH:
            return None
        try:
            age = self._signer.get_timestamp() - int.from_bytes(_decode(stamp), "big")
        except ValueError:
            return None
        return _unpack(payload).decode() if 0 <= age <= max_age else None


def _begin_hmac(key: bytes, digest_method: t.Any) -> tuple[t.Any, t.Any]:
    """Give the two hashes of an HMAC (RFC 2104) that have taken in the key.

    :mod:`hmac` would copy them for each text too, in Python.
    """
    inner, outer = digest_method(), digest_method()
    size: int = inner.block_size
    if len(key) > size:
        key = digest_method(key).digest()
    key = key.ljust(size, b"\0")
    inner.update(key.translate(_INNER))
    outer.update(key.translate(_OUTER))
    return inner, outer


def _encode(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return a2b_base64(text.translate(_FROM_URL) + b"=" * (-len(text) % 4))


def _pack(data: bytes) -> bytes:
    """Encode data, compressed if that makes it shorter, which a dot says."""
    if _may_shrink(data):
        compressed = zlib.compress(data)
        if len(compressed) < len(data) - 1:
            return b"." + _encode(compressed)
    return _encode(data)


def _may_shrink(data: bytes) -> bool:
    """Tell whether it is worth compressing: not if it would not get shorter by two bytes.

    The tables that zlib has for each call by default are large enough for their memory to be
    given back to the system and asked for again, which takes far longer than short data do.
    """
    size = len(data)
    if size < _INCOMPRESSIBLE or size > _SHORT:
        return size > _SHORT
    level = 1 if size <= _VERY_SHORT else 7
    compressor = zlib.compressobj(wbits=10, memLevel=level)
    return len(compressor.compress(data)) + len(compressor.flush()) < size - 1


def may_contain(text: str, name: bytes) -> bool:
    """Tell whether a name may be in the JSON that a text was made of; only false is certain.

    :param text: a signed text, which is not verified.
    """
    payload = text.rsplit(".", 2)[0].encode()
    try:
        data = _decode(payload)
    except ValueError:
        return True
    # Compressed, or with characters that JSON may escape.
    return payload[:1] == b"." or name in data or b"\\" in data


def _unpack(payload: bytes) -> bytes:
    if payload[:1] == b".":
        return zlib.decompress(_decode(payload[1:]))
    return _decode(payload)
