"""The latest results: as JSON, from which the rest is made, as Markdown, and as plots."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from . import workloads
from .figures import Figures
from .figures import Key
from .machine import in_words
from .tables import as_markdown
from .tables import target_table
from .tables import workload_table
from .targets import judge
from .targets import TARGETS

FOLDER = Path(__file__).with_name("results")
BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
TITLES = {
    "inprocess": "In process",
    "http": "Over HTTP",
    "startup": "Start of a process",
    "memory": "Memory of a server process",
}


@dataclass(frozen=True)
class Results:
    """What a run has measured, and where."""

    machine: dict[str, str]
    figures: Figures

    def to_json(self) -> str:
        """Encode it."""
        series = [[*key, [round(value, 4) for value in values]] for key, values in self._items()]
        lines = ",\n  ".join(json.dumps(line, ensure_ascii=False) for line in series)
        machine = json.dumps(self.machine, ensure_ascii=False)
        return f'{{"machine": {machine},\n "series": [\n  {lines}\n]}}\n'

    def _items(self) -> list[tuple[Key, list[float]]]:
        return list(self.figures.series.items())

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Decode it."""
        found = json.loads(text)
        series = {Key(*line[:4]): line[4] for line in found["series"]}
        return cls(found["machine"], Figures(series))


def title_of(level: str, name: str) -> str:
    """Say what a table is about."""
    workload = workloads.BY_NAME.get(name)
    return f"{workload.title} ({name})" if workload else f"{name}"


def write_markdown(results: Results) -> str:
    """Write all tables, the targets first."""
    figures = results.figures
    verdicts = [judge(target, figures) for target in TARGETS]
    parts = [in_words(results.machine), as_markdown(target_table(verdicts))]
    for level, title in TITLES.items():
        names = figures.workloads(level)
        if names:
            parts.append(f"## {title}")
        for name in names:
            parts.append(as_markdown(workload_table(figures, level, name, title_of(level, name))))
    return "\n\n".join(parts) + "\n"


def save(results: Results, folder: Path = FOLDER) -> None:
    """Write everything into a folder."""
    from .plots import save_plots

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.json").write_text(results.to_json(), "utf-8")
    (folder / "latest.md").write_text("# Latest results\n\n" + write_markdown(results), "utf-8")
    save_plots(results, folder)


def load(folder: Path = FOLDER) -> Results:
    """Read what was saved."""
    return Results.from_json((folder / "latest.json").read_text("utf-8"))


def put_between_marks(page: str, text: str) -> str:
    """Replace what stands between the marks of a page.

    :raises ValueError: it has no marks.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"no {BEGIN!r} … {END!r} in the page")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text.strip()}\n{END}{after}"
