"""A dataset's report as one HTML page that needs nothing else, and its Markdown twin, the dataset's card."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa

from superinsight_sync.export.hugging_face import Loadable, front_matter
from superinsight_sync.export.manifest import ManifestFile
from superinsight_sync.export.statistics import OTHERS, ColumnStatistics, Count, DatasetStatistics
from superinsight_sync.model.dataset import DatasetSpec

_TEMPLATES = Path(__file__).parent / "templates"
_MARKUP = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*[]<>|&"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Report:
    """What the templates tell. `lineage` is by input alias; `files` are the data files."""

    spec: DatasetSpec
    input_versions: Mapping[str, int | str]
    schema: pa.Schema
    lineage: Mapping[str, tuple[tuple[str, str], ...]]
    statistics: DatasetStatistics
    files: Sequence[ManifestFile]
    warnings: Sequence[str]
    loadable: Loadable

    def sources(self, column: str) -> tuple[str, ...]:
        """Where a column's values come from: `<source>/<stream>.<column>`."""
        return tuple(f"{self.spec.inputs[alias]}.{name}" for alias, name in self.lineage.get(column, ()))

    @cached_property
    def splits(self) -> list[dict[str, Any]]:
        """Name, rows, groups, share and declared ratio of each split."""
        found = self.statistics
        return [
            {
                "name": name,
                "rows": rows,
                "groups": found.groups_by_split[name],
                "share": rows / found.rows if found.rows else 0.0,
                "ratio": self.spec.split.ratios[name],
            }
            for name, rows in found.rows_by_split.items()
        ]

    @cached_property
    def drifting(self) -> list[tuple[str, str, Any]]:
        """Column, split and drift, the strongest first, of those beyond the limits."""
        found = [
            (column.name, split, drift)
            for column in self.statistics.columns
            for split, drift in (column.drift or {}).items()
            if drift.level != "none"
        ]
        return sorted(found, key=lambda f: (-f[2].psi, f[0], f[1]))

    @property
    def front_matter(self) -> str:
        """What the card declares to Hugging Face's library: the most exact format. Empty if it reads none right."""
        name = next(iter(self.loadable.features), None)
        return "" if name is None else front_matter(self.loadable, name, self.files)

    @property
    def size_bytes(self) -> int:
        """Of the data files."""
        return sum(file.size_bytes for file in self.files)


def render_html(report: Report) -> str:
    """The page. Every name and value is escaped; nothing is loaded from elsewhere and nothing runs."""
    return _environment(autoescape=True).get_template("report.html.j2").render(r=report, OTHERS=OTHERS)


def render_card(report: Report, *, values: bool) -> str:
    """The card. With `values` it has the statistics that show values of the data (`README.md`)."""
    return (
        _environment(autoescape=False)
        .get_template("card.md.j2")
        .render(r=report, values=values, OTHERS=OTHERS)
    )


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": _count,
        "different": _different,
        "size": _size,
        "percent": _percent,
        "number": _number,
        "measure": _measure,
        "cell": _cell,
        "code": _code,
        "bars": _bars,
        "steps": _steps,
        "top": _top_share,
        "total": lambda counts: sum(counts.values()),
    }
    return environment


def _count(value: int) -> str:
    return f"{value:,}"


def _different(found: Count) -> str:
    return f"{'' if found.exact else '≈ '}{found.value:,}"


def _size(value: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    """Four significant digits, without exponent between a thousandth and a billion."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        digits = max(0, 3 - (math.floor(math.log10(abs(value))) if value else 0))
        text = f"{value:,.{min(digits, 6)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def _measure(value: float | None, column: ColumnStatistics) -> str:
    """A measure as a person reads it: a time as a time."""
    if value is None or column.kind != "time":
        return _number(value)
    try:
        at = _EPOCH + timedelta(seconds=value)
    except OverflowError:
        return "–"
    return at.strftime("%Y-%m-%d" if column.type.startswith("date") else "%Y-%m-%d %H:%M")


def _cell(text: object) -> str:
    """Text of others in a Markdown table: no markup, no line break, no end of the cell."""
    return " ".join(str(text).split()).translate(_MARKUP)


def _code(text: object) -> str:
    """The same as code, where only the sign that ends it and the cell's end need care."""
    return "`" + " ".join(str(text).split()).replace("`", "'").replace("|", "\\|") + "`"


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _bars(counts: Sequence[int], top: float, width: float, height: float) -> list[dict[str, float]]:
    """Rectangles of a histogram, as shares of the highest share `top`."""
    step = width / len(counts)
    return [
        {"x": round(i * step, 2), "y": round(height - h, 2), "w": round(step - 1, 2), "h": round(h, 2)}
        for i, share in enumerate(_shares(counts))
        if (h := share / top * height) > 0
    ]


def _steps(counts: Sequence[int], top: float, width: float, height: float) -> str:
    """The outline of a histogram as an SVG path."""
    step = width / len(counts)
    path = [f"M0 {height:g}"]
    for i, share in enumerate(_shares(counts)):
        y = round(height - share / top * height, 2)
        path.append(f"L{i * step:.2f} {y:g}L{(i + 1) * step:.2f} {y:g}")
    return "".join([*path, f"L{width:g} {height:g}"])


def _top_share(counts_by_split: Mapping[str, Sequence[int]]) -> float:
    """The highest share of any bin in any split; 1 if there is none."""
    return max((s for counts in counts_by_split.values() for s in _shares(counts)), default=0.0) or 1.0
