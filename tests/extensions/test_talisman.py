"""Flask-Talisman."""

from __future__ import annotations

import re
import typing as t

import pytest
from flask import Flask
from flask import render_template_string
from flask import session
from flask_talisman import Talisman

EXTENSION = "flask-talisman"

HTTPS = "https://localhost"


@pytest.fixture
def app(app: Flask, painted: t.Any) -> Flask:
    policy = {"default-src": "'self'", "script-src": "'self'"}
    talisman = Talisman(
        app, content_security_policy=policy, content_security_policy_nonce_in=["script-src"]
    )

    @app.get("/")
    @painted
    def index() -> str:
        session["seen"] = True
        return render_template_string('<script nonce="{{ csp_nonce() }}"></script>')

    @app.get("/framed")
    @talisman(frame_options="DENY", content_security_policy="default-src 'none'")
    @painted
    def framed() -> str:
        return "framed"

    @app.get("/open")
    @talisman(force_https=False)
    @painted
    def plain() -> str:
        return "plain"

    return app


def test_http_is_sent_to_https(client: t.Any) -> None:
    answer = client.get("/?a=1")
    assert (answer.status_code, answer.location) == (302, "https://localhost/?a=1")


def test_responses_have_the_headers(client: t.Any) -> None:
    headers = client.get("/", base_url=HTTPS).headers
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Strict-Transport-Security"] == "max-age=31556926; includeSubDomains"
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"


def test_errors_have_the_headers_too(client: t.Any) -> None:
    answer = client.get("/nothing", base_url=HTTPS)
    assert answer.status_code == 404 and answer.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_a_page_has_the_nonce_of_its_policy(client: t.Any) -> None:
    answers = [client.get("/", base_url=HTTPS) for _ in range(2)]
    nonces = [re.findall('nonce="(.+?)"', answer.text)[0] for answer in answers]
    assert nonces[0] != nonces[1]
    assert answers[0].headers["Content-Security-Policy"] == (
        f"default-src 'self'; script-src 'self' 'nonce-{nonces[0]}'"
    )


def test_a_view_has_options_of_its_own(client: t.Any) -> None:
    headers = client.get("/framed", base_url=HTTPS).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    assert client.get("/open").text == "plain"


def test_session_cookies_are_secure(client: t.Any) -> None:
    cookie = client.get("/", base_url=HTTPS).headers["Set-Cookie"]
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=Lax"))
