"""Uploaded pictures: which are accepted, what they are called, where they lie."""

from __future__ import annotations

import secrets
from pathlib import Path

from werkzeug.datastructures import FileStorage
from werkzeug.utils import secure_filename

from asyncflask import current_app

# The first bytes decide, not the name: what is served back as a picture has to be one.
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
}


def folder() -> Path:
    """The folder of the pictures."""
    data: Path = current_app.config["DATA"]
    return data / "images"


def detect_type(start: bytes) -> str | None:
    """Tell the kind of a picture from its first bytes; None if it is none we accept."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    return next((kind for sign, kind in SIGNATURES.items() if start.startswith(sign)), None)


def save(upload: FileStorage) -> str:
    """Store an upload and give the name it has got.

    :raises ValueError: it is not a PNG, JPEG, GIF or WebP picture.
    """
    kind = detect_type(upload.stream.read(12))
    upload.stream.seek(0)
    if kind is None:
        raise ValueError("The picture must be a PNG, JPEG, GIF or WebP file.")
    stem = Path(secure_filename(upload.filename or "")).stem[:40] or "picture"
    name = f"{secrets.token_hex(8)}-{stem}.{kind}"
    upload.save(folder() / name)
    return name


def remove(name: str | None) -> None:
    """Delete a picture, if there is one."""
    if name:
        (folder() / name).unlink(missing_ok=True)
