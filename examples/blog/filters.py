"""What the templates can do with a text or a time."""

from __future__ import annotations

import re
from datetime import datetime

from markupsafe import escape
from markupsafe import Markup

from asyncflask import Flask


def paragraphs(text: str) -> Markup:
    """Turn plain text into HTML: a blank line ends a paragraph, `backticks` mark code."""
    safe = str(escape(text.strip().replace("\r\n", "\n")))
    coded = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", safe)
    blocks = re.split(r"\n\s*\n", coded)
    return Markup("\n").join(Markup(f"<p>{block}</p>".replace("\n", "<br>")) for block in blocks)


def date(stamp: str) -> Markup:
    """Show a time from the database as a date."""
    day = datetime.fromisoformat(stamp)
    return Markup('<time datetime="{}">{} {:%B %Y}</time>').format(stamp, day.day, day)


def init_app(app: Flask) -> None:
    """Offer the filters to the templates."""
    app.add_template_filter(paragraphs)
    app.add_template_filter(date)
