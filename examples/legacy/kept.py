"""What is made at the first start and kept in a folder, ``LEGACY_DATA`` or ``instance/`` here."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FOLDER = Path(os.environ.get("LEGACY_DATA") or Path(__file__).parent / "instance").resolve()


def secret(name: str) -> str:
    """A random text, always the same one for a name; only the owner may read its file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / name
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(32), "ascii")
    return file.read_text("ascii")
