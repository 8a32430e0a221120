"""Flask-Babel."""

from __future__ import annotations

import datetime
import io
import typing as t
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from flask import Flask
from flask import render_template_string
from flask import request
from flask_babel import Babel
from flask_babel import force_locale
from flask_babel import format_datetime
from flask_babel import get_locale
from flask_babel import gettext
from flask_babel import lazy_gettext
from flask_babel import ngettext

EXTENSION = "Flask-Babel"

WHEN = datetime.datetime(2026, 3, 4, 12, 30)
LAZY = lazy_gettext("Hello")


@pytest.fixture
def app(app: Flask, tmp_path: Path) -> Flask:
    catalog = Catalog(locale="de")
    catalog.add("Hello", "Hallo")
    catalog.add(("%(num)s note", "%(num)s notes"), ("%(num)s Zettel", "%(num)s Zettel, viele"))
    stream = io.BytesIO()
    write_mo(stream, catalog)
    folder = tmp_path / "translations" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "messages.mo").write_bytes(stream.getvalue())
    Babel(
        app,
        locale_selector=lambda: request.accept_languages.best_match(["en", "de"]),
        timezone_selector=lambda: request.args.get("zone"),
    )
    return app


def both(client: t.Any, path: str = "/") -> list[str]:
    """Ask in English and in German."""
    return [client.get(path, headers={"Accept-Language": one}).text for one in ("en", "de")]


def test_locale_is_chosen_by_the_request(app: Flask, client: t.Any, painted: t.Any) -> None:
    app.add_url_rule("/", "index", painted(lambda: f"{get_locale()}"))
    assert both(client) == ["en", "de"]


def test_texts_are_translated(app: Flask, client: t.Any, painted: t.Any) -> None:
    view = painted(lambda: f"{gettext('Hello')}, {ngettext('%(num)s note', '%(num)s notes', 2)}")
    app.add_url_rule("/", "index", view)
    assert both(client) == ["Hello, 2 notes", "Hallo, 2 Zettel, viele"]


def test_lazy_texts_are_translated_per_request(app: Flask, client: t.Any, painted: t.Any) -> None:
    app.add_url_rule("/", "index", painted(lambda: f"{LAZY}"))
    assert both(client) == ["Hello", "Hallo"]


def test_templates_translate_and_format(app: Flask, client: t.Any, painted: t.Any) -> None:
    template = "{{ _('Hello') }} {{ 1234.5|numberformat }} {{ when|dateformat('long') }}"
    app.add_url_rule("/", "index", painted(lambda: render_template_string(template, when=WHEN)))
    assert both(client) == ["Hello 1,234.5 March 4, 2026", "Hallo 1.234,5 4. März 2026"]


def test_time_zone_is_chosen_by_the_request(app: Flask, client: t.Any, painted: t.Any) -> None:
    app.add_url_rule("/", "index", painted(lambda: format_datetime(WHEN, "HH:mm")))
    assert both(client) == ["12:30", "12:30"]
    assert both(client, "/?zone=Asia/Tokyo") == ["21:30", "21:30"]


def test_locale_can_be_forced(app: Flask, client: t.Any, painted: t.Any) -> None:
    def view() -> str:
        with force_locale("de"):
            german = gettext("Hello")
        return f"{german}, {gettext('Hello')}"

    app.add_url_rule("/", "index", painted(view))
    assert both(client) == ["Hallo, Hello", "Hallo, Hallo"]
