"""What ``importlib.metadata`` is told of Flask where it is not installed."""

from __future__ import annotations

import typing as t
from importlib.metadata import Distribution
from importlib.metadata import DistributionFinder
from importlib.metadata import MetadataPathFinder

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

_FLASK: t.Final = DistributionFinder.Context(name="flask")


class FlaskDistribution(Distribution):
    """A distribution named Flask that has a version and nothing else.

    :param version: the version.
    """

    def __init__(self, version: str) -> None:
        self._metadata = f"Metadata-Version: 2.1\nName: Flask\nVersion: {version}\n"

    def read_text(self, filename: str | PathLike[str]) -> str | None:
        """Give the metadata; there are no other files."""
        return self._metadata if filename == "METADATA" else None

    def locate_file(self, path: str | PathLike[str]) -> t.Any:
        """Refuse: it has no files.

        :raises FileNotFoundError: always.
        """
        raise FileNotFoundError(f"Flask is not installed, so it has no file {str(path)!r}.")


def find_flask(context: DistributionFinder.Context, version: str) -> Iterator[Distribution]:
    """Find Flask, unless it is installed: monitoring agents refuse to run without a version.

    :param context: what is looked for.
    :param version: the one it is to have.
    """
    if context.name is not None and context.name.lower() != "flask":
        return
    # With a path of its own it is a search in folders, for what is really there.
    if "path" in vars(context) or any(MetadataPathFinder.find_distributions(_FLASK)):
        return
    yield FlaskDistribution(version)
