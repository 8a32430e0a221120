"""Tools of the tests: an ASGI lint, a scripted ASGI client, a runner for real servers."""
