"""Everything that speaks ASGI or WSGI."""
