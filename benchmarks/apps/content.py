"""What the applications send, the same in each framework."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")
#: Files are made when first asked for, and kept.
STATIC = Path(__file__).resolve().parents[2] / ".cache" / "benchmarks"
SECRET = "not-a-secret-but-as-long-as-one-should-be"
SMALL = 10_000
LARGE = 10_000_000
CHUNK = b"0123456789abcdef" * 4
CHUNKS = 1_000
#: The fields of the form.
FIELDS = ("name", "email", "age", "city", "note")
#: What the template shows.
ROWS = [(f"thing {number}", number * 10) for number in range(10)]


def pattern(size: int) -> bytes:
    """Make bytes that show when a piece is missing or in the wrong place."""
    return b"".join(b"%09d\n" % number for number in range(-(-size // 10)))[:size]


def static_folder() -> Path:
    """Find the files that are served, made if need be."""
    STATIC.mkdir(parents=True, exist_ok=True)
    for name, size in (("small.bin", SMALL), ("large.bin", LARGE)):
        path = STATIC / name
        if not path.exists() or path.stat().st_size != size:
            unfinished = path.with_suffix(".part")
            unfinished.write_bytes(pattern(size))
            unfinished.replace(path)
    return STATIC


def each_chunk() -> Iterator[bytes]:
    """Make the chunks of the stream."""
    for _ in range(CHUNKS):
        yield CHUNK
