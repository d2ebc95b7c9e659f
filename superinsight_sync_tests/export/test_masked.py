"""A dataset's masks, and the check for anonymity."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError, DataError
from superinsight_sync_tests.export.making import build, dataset, local

PEOPLE = pa.table(
    {
        "mail": [f"Person{i}@example.org" for i in range(40)],
        "age": [20 + i % 20 for i in range(40)],
        "ill": ["flu" if i < 20 else f"d{i}" for i in range(40)],
        "note": [f"call +49 151 2345 67{i:02}" for i in range(40)],
    }
)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIS_MASK_KEY", "k" * 32)


def test_a_masked_dataset_holds_no_original_and_keeps_its_split(tmp_path: Path) -> None:
    split = {"group_by": ["mail"]}
    plain = build(dataset(split=split), tmp_path / "plain", rows=PEOPLE)
    mask = {"MAIL": "hmac", "note": "text", "age": {"how": "generalise", "band": 10}}
    masked = build(dataset(split=split, mask=mask), tmp_path / "masked", rows=PEOPLE)
    assert masked.fields["rows_by_split"] == plain.fields["rows_by_split"]
    assert masked.fields["masks"] == {"MAIL": "hmac", "note": "text", "age": "generalise"}
    assert masked.fields["mask_key_version"] == 1
    assert "masks" not in plain.fields
    written = b"".join(path.read_bytes() for _, path in masked.files)
    assert b"Person" not in written
    assert b"2345" not in written
    rows = pq.read_table(local(masked, "data/train.parquet"))
    assert set(rows["age"].to_pylist()) <= {"20-29", "30-39"}


def test_rows_that_stand_alone_are_left_out_and_counted(tmp_path: Path) -> None:
    band = {"age": {"how": "generalise", "band": 10}}
    rows = PEOPLE.set_column(1, "age", pa.array([25] * 20 + [35] * 17 + [45] * 3))
    spec = dataset(mask=band, anonymity={"quasi_identifiers": ["age"], "k": 5, "sensitive": ["ill"], "l": 2})
    made = build(spec, tmp_path / "a", rows=rows)
    assert made.fields["anonymity"] == {"k": 5, "classes": 3, "suppressed_rows": 23, "l": 2}
    assert made.fields["rows"] == 17
    assert "23 rows were left out for anonymity" in made.fields["warnings"][0]
    failing = {"quasi_identifiers": ["age"], "k": 5, "otherwise": "fail"}
    with pytest.raises(DataError, match="3 rows are in classes"):
        build(dataset(mask=band, anonymity=failing), tmp_path / "b", rows=rows)


def test_a_wrong_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column 'mial'"):
        build(dataset(mask={"mial": "redact"}), tmp_path / "a", rows=PEOPLE)
    with pytest.raises(ConfigError, match="no column 'agee'"):
        build(dataset(anonymity={"quasi_identifiers": ["agee"]}), tmp_path / "b", rows=PEOPLE)


def test_a_missing_key_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIS_MASK_KEY")
    with pytest.raises(ConfigError, match="SIS_MASK_KEY is not set"):
        build(dataset(mask={"mail": "hmac"}), tmp_path / "a", rows=PEOPLE)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from([None, 1, 2, 3]), st.sampled_from("ab")), min_size=1, max_size=25)
)
def test_every_class_that_is_left_has_k_rows_and_l_values(
    rows: list[tuple[int | None, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import duckdb

    from superinsight_sync.export.masked import anonymous_sql
    from superinsight_sync.model.dataset import AnonymitySpec

    table = pa.table({"q": pa.array([q for q, _ in rows], pa.int64()), "s": [s for _, s in rows]})
    with duckdb.connect() as connection:
        connection.register("t", table)
        spec = AnonymitySpec(quasi_identifiers=("q",), k=3, sensitive=("s",))
        sql, numbers = anonymous_sql(connection, "SELECT * FROM t", spec)
        left = connection.execute(sql).fetchall()
    classes = {q: [s for p, s in rows if p == q] for q, _ in rows}
    good = {q for q, found in classes.items() if len(found) >= 3 and len(set(found)) >= 2}
    assert sorted(left, key=str) == sorted([r for r in rows if r[0] in good], key=str)
    assert numbers["suppressed_rows"] == len(rows) - len(left)
