"""The report says what is in the data, in one page that can do no harm."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from superinsight_sync.export.build import Built
from superinsight_sync.export.statistics import ColumnStatistics, Count
from superinsight_sync_tests.export.making import build, dataset, local, orders

HOSTILE = '<script>alert("1")</script>|`x`\n# title'


def column(built: Built, name: str) -> ColumnStatistics:
    return next(c for c in built.statistics.columns if c.name == name)


class Tags(HTMLParser):
    """The tags of a page, and whether each one that is opened is closed."""

    void = frozenset({"meta", "link", "br", "rect", "path", "line"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_names_and_values_of_others_do_nothing_in_html_and_markdown(tmp_path: Path) -> None:
    table = pa.table({HOSTILE: [HOSTILE] * 30 + ["b"] * 30, "n": range(60)})
    spec = dataset(description=HOSTILE, select="SELECT * FROM rows -- </code><script>x</script>")
    built = build(spec, tmp_path / "w", rows=table)
    page = local(built, "report.html").read_text()
    tags = Tags(page)
    assert not [tag for tag, _ in tags.seen if tag in ("script", "iframe", "img", "object", "link")]
    assert not [a for _, attributes in tags.seen for a in attributes if a.startswith("on")]
    assert "&lt;script&gt;alert" in page
    card = local(built, "README.md").read_text()
    card = card.split("\n---\n", 1)[1]
    outside_code = re.sub(r"```.*?```", "", card, flags=re.S)
    assert "<script" not in outside_code
    assert "\n# title" not in card
    widths = {line.count("|") for line in card.split("## Columns")[1].split("\n\n")[1].splitlines()}
    assert widths == {6}


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    built = build(dataset(), tmp_path / "w", rows=orders(300))
    page = local(built, "report.html").read_text()
    Tags(page)
    assert "http" not in page.replace("http-equiv", "")
    assert 'src="' not in page
    assert "prefers-color-scheme:dark" in page
    assert all("aria-label" in a for tag, a in Tags(page).seen if tag == "svg")


def test_statistics_are_those_of_the_rows(tmp_path: Path) -> None:
    count = 1_000
    table = pa.table(
        {
            "n": range(count),
            "x": pa.array([None if i % 4 == 0 else float(i) for i in range(count)]),
            "few": [["a", "b", "b", "b"][i % 4] for i in range(count)],
            "flag": [i % 2 == 0 for i in range(count)],
            "text": [f"{i:010d}" for i in range(count)],
            "huge": pa.array([1e300 * (i % 2) for i in range(count)]),
            "none": pa.array([None] * count, pa.float64()),
            "list": [[1] * (i % 3) for i in range(count)],
        }
    )
    built = build(dataset(), tmp_path / "w", rows=table)
    n = column(built, "n")
    assert (n.overall.min, n.overall.max, n.overall.mean) == (0, 999, 499.5)
    assert n.overall.std == pytest.approx(288.8194, rel=1e-6)
    assert n.overall.quantiles[2] in (499, 500)
    assert n.overall.distinct == Count(count)
    assert n.histogram and sum(map(sum, n.histogram.counts.values())) == count
    assert column(built, "x").overall.nulls == 250
    assert sum(m.nulls for m in column(built, "x").by_split.values()) == 250
    few = column(built, "few").values
    assert few and {v: sum(c.values()) for v, c in few.items()} == {"b": 750, "a": 250}
    assert list(few) == ["b", "a"]
    assert column(built, "flag").values
    assert column(built, "text").values is None
    assert column(built, "text").overall.max == 10
    assert column(built, "huge").overall.max == 1e300
    assert column(built, "none").overall.nulls == count
    assert column(built, "list").overall.max == 2
    assert sum(built.statistics.rows_by_split.values()) == count


def test_a_rare_value_is_not_shown(tmp_path: Path) -> None:
    table = pa.table({"city": ["Oslo"] * 40 + ["Rome"] * 20 + ["Onlyone"] * 4})
    built = build(dataset(formats=["parquet"]), tmp_path / "w", rows=table)
    values = column(built, "city").values
    assert values and list(values) == ["Oslo", "Rome", ""]
    for name in ("report.html", "README.md"):
        assert "Onlyone" not in local(built, name).read_text()


def test_the_card_for_everybody_has_no_value_of_the_data(tmp_path: Path) -> None:
    table = pa.table({"city": ["Oslo"] * 40, "salary": [987654] * 40, "g": range(40)})
    built = build(dataset(split={"group_by": ["g"]}), tmp_path / "w", rows=table)
    assert "Oslo" in local(built, "README.md").read_text()
    assert "987,654" in local(built, "README.md").read_text()
    assert "Oslo" not in built.card_markdown
    assert "987" not in built.card_markdown
    assert "| salary |" in built.card_markdown


def test_drift_between_splits_is_found_and_its_absence_too(tmp_path: Path) -> None:
    count = 6_000
    same = pa.table(
        {"g": [i % 3_000 for i in range(count)], "x": [float(i * 7919 % 100) for i in range(count)]}
    )
    spec = dataset(split={"group_by": ["g"]}, formats=["parquet"])
    steady = build(spec, tmp_path / "1", rows=same)
    drift = column(steady, "x").drift
    assert drift and {d.level for d in drift.values()} == {"none"}
    # Ten groups only: what a group is like is what its split is like.
    few = pa.table({"g": [i % 10 for i in range(count)], "x": [float(i % 10) for i in range(count)]})
    shifted = column(build(spec, tmp_path / "2", rows=few), "x").drift
    assert shifted and "strong" in {d.level for d in shifted.values()}


def test_the_card_tells_where_columns_come_from_and_how_to_load(tmp_path: Path) -> None:
    built = build(dataset(), tmp_path / "w", version=41, rows=orders(100))
    card = local(built, "README.md").read_text()
    assert card.startswith("---\nconfigs:\n- config_name: parquet\n  default: true\n")
    assert "| rows | shop/rows | 41 |" in card
    assert "| amount | `double` | shop/rows.amount |" in card
    assert "read_parquet" in card and "load_dataset" in card
    assert "config_name" not in built.card_markdown
