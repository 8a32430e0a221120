"""Flask-Mail, with a mail server on the loopback."""

from __future__ import annotations

import email
import email.message
import io
import socketserver
import threading
import typing as t

import pytest
from flask import Flask
from flask import request
from flask_mail import email_dispatched
from flask_mail import Mail
from flask_mail import Message

EXTENSION = "Flask-Mail"

Delivered = list[email.message.Message]


class Session(socketserver.StreamRequestHandler):
    """Speaks as much SMTP as it takes to be sent a message."""

    def handle(self) -> None:
        self.reply("220 hello")
        while line := self.rfile.readline():
            match line.split()[0].upper():
                case b"DATA":
                    self.reply("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    self.server.delivered.append(email.message_from_bytes(b"".join(lines)))  # type: ignore[attr-defined]
                    self.reply("250 taken")
                case b"QUIT":
                    self.reply("221 bye")
                    return
                case _:
                    self.reply("250 fine")

    def reply(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def delivered(app: Flask) -> t.Iterator[Delivered]:
    """Give the messages that have reached the server."""
    with socketserver.TCPServer(("127.0.0.1", 0), Session) as server:
        server.delivered = []  # type: ignore[attr-defined]
        app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=server.server_address[1])
        app.config.update(MAIL_SUPPRESS_SEND=False, MAIL_DEFAULT_SENDER="us@example.org")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.delivered  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mail(app: Flask, painted: t.Any, delivered: Delivered) -> Mail:
    mail = Mail(app)

    @app.post("/send")
    @painted
    def send() -> str:
        message = Message("Hello", recipients=request.form.getlist("to"), body="the text")
        message.attach("a.txt", "text/plain", request.files["file"].read())
        mail.send(message)
        return "sent"

    @app.post("/many")
    @painted
    def many() -> str:
        with mail.connect() as connection:
            for name in request.form.getlist("to"):
                connection.send(Message(f"To {name}", recipients=[name], body="the same"))
        return "sent"

    return mail


def data(*names: str) -> dict[str, t.Any]:
    return {"to": list(names), "file": (io.BytesIO(b"attached"), "a.txt")}


def test_a_view_sends_a_message(client: t.Any, mail: Mail, delivered: Delivered) -> None:
    assert client.post("/send", data=data("ada@example.org")).text == "sent"
    (message,) = delivered
    assert (message["From"], message["To"]) == ("us@example.org", "ada@example.org")
    text, attachment = t.cast("list[t.Any]", message.get_payload())
    assert text.get_payload().strip() == "the text"
    assert (attachment.get_filename(), attachment.get_payload(decode=True)) == (
        "a.txt",
        b"attached",
    )


def test_one_connection_sends_several(client: t.Any, mail: Mail, delivered: Delivered) -> None:
    client.post("/many", data=data("ada@example.org", "bob@example.org"))
    assert [one["Subject"] for one in delivered] == ["To ada@example.org", "To bob@example.org"]


def test_messages_can_be_recorded_instead(
    app: Flask, client: t.Any, mail: Mail, delivered: Delivered
) -> None:
    app.extensions["mail"].suppress = True
    with mail.record_messages() as outbox:
        client.post("/send", data=data("ada@example.org"))
    assert [message.subject for message in outbox] == ["Hello"]
    assert delivered == []


def test_receivers_are_told_of_messages(
    app: Flask, client: t.Any, mail: Mail, delivered: Delivered
) -> None:
    seen = []

    def note(sender: Flask, message: Message) -> None:
        seen.append((message.subject, sender))

    with email_dispatched.connected_to(note):
        client.post("/send", data=data("ada@example.org"))
    assert seen == [("Hello", app)]
