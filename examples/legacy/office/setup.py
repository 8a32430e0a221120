"""The first start: tables, and somebody who may log in."""

from __future__ import annotations

import kept
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection


def prepare() -> None:
    """Create what is missing in the database."""
    call_command("migrate", verbosity=0)
    if not User.objects.filter(username="admin").exists():
        User.objects.create_superuser("admin", password=kept.secret("admin_password"))
    # Threads have connections of their own; this one's is needed no longer.
    connection.close()
