"""Every value that the log tells is the one that a pull reads."""

from typing import Any

import psycopg
import pyarrow as pa
import pytest

from superinsight_sync.core.errors import DataError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import StreamSpec
from superinsight_sync.model.read import ReadRequest
from superinsight_sync.pipeline.engine import Engine
from superinsight_sync.sources.opening import open_source
from superinsight_sync_tests.capture.bank import captured, capturing, caught_up, landed, log_of

VALUES: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["-32768", "32767"],
    "int4": ["-2147483648", "7"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "float4": ["'NaN'", "'-Infinity'", "1.1", "3.4028235e38", "1e-45", "-0.0"],
    "float8": ["'NaN'", "'Infinity'", "0.1", "1.7976931348623157e308", "5e-324", "-0.0"],
    "numeric": ["1e40", "'NaN'", "0.000", "'Infinity'"],
    "numeric(12,2)": ["1.5", "-9999999999.99", "0"],
    "numeric(38,10)": ["1234567890123456789012345678.0123456789", "-0.0000000001"],
    "numeric(5,0)": ["12345"],
    "text": ["''", "'größe 😀'", "E'a\\tb\\nc\\\\'", "'NULL'", "'{x}'"],
    "varchar(20)": ["'abc  '"],
    "char(5)": ["'ab'"],
    '"char"': ["'x'"],
    "name": ["'nm'"],
    "bytea": ["'\\x00ff5c'", "''"],
    "date": ["'2026-02-28'", "'0044-03-15 BC'", "'12345-06-07'", "'0001-01-01'"],
    "timestamp": [
        "'2026-02-28 12:34:56.789'",
        "'0044-03-15 01:02:03 BC'",
        "'19999-12-31 23:59:59.999999'",
        "'1969-12-31 23:59:59.5'",
    ],
    "timestamptz": ["'2026-02-28 12:34:56+05:30'", "'0001-01-01 00:00:00+00'", "'0100-01-01 BC'"],
    "time": ["'12:34:56.7'"],
    "timetz": ["'12:34:56+02'"],
    "interval": ["'1 year -2 days 03:04:05.6'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "json": ['\'{"a": 1, "b":[1, 2]}\''],
    "jsonb": ['\'{"b":2,"a":1}\'', "'null'"],
    "inet": ["'10.0.0.1/8'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "money": ["'12.34'"],
    "bit(4)": ["B'1010'"],
    "varbit": ["B'101'"],
    "int4range": ["'[1,5)'"],
    "point": ["'(1.5,2)'"],
    "tsvector": ["'a:1 b:2'"],
    "mood": ["'sad'"],
    "score": ["12.5"],
    "pair": ["ROW(1, 'x, \"y\"')"],
    "int4[]": ["'{1,NULL,3}'", "'{}'", "'[0:1]={5,6}'"],
    "bool[]": ["'{t,f,NULL}'", "'{}'"],
    "float8[]": ["'{1.5,NaN,-Infinity}'"],
    "text[]": ["ARRAY['a,b', 'NULL', NULL, '', 'q\"\\']", "'{}'", "'{plain,NULL}'"],
    "int8[]": ["'{9223372036854775807}'"],
    "uuid[]": ["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"],
    "numeric[]": ["'{1.50,NULL}'"],
    "timestamptz[]": ["'{2026-01-01 00:00:00+00}'"],
    "int4[][]": ["'{{1,2},{3,4}}'"],
    "pair[]": ["ARRAY[ROW(1,'a')::pair]"],
    "jsonb[]": ["ARRAY['{\"a\": 1}'::jsonb]"],
}
SETUP = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN score AS numeric(6,3) CHECK (VALUE >= 0);
    CREATE TYPE pair AS (number int, word text);"""


def test_every_type_is_what_a_pull_gives(engine: Engine, settings: Settings, bank: str) -> None:
    names = {kind: f"c{n}" for n, kind in enumerate(VALUES)}
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute(SETUP)
        columns = ", ".join(f"{name} {kind}" for kind, name in names.items())
        db.execute(f"CREATE TABLE everything (id int PRIMARY KEY, {columns})")
        rows: list[dict[str, str]] = [{}]
        for n in range(max(map(len, VALUES.values()))):
            rows.append({names[k]: v[n] for k, v in VALUES.items() if n < len(v)})

        def insert(first: int) -> None:
            for number, row in enumerate(rows, first):
                into, values = ", ".join(["id", *row]), ", ".join([str(number), *row.values()])
                db.execute(f"INSERT INTO everything ({into}) VALUES ({values})")

        insert(0)
        source = captured(bank, {"table": "public.everything"})
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            insert(100)
            caught_up(engine, source, bank, running)
    connection = open_source({"kind": "postgres", "dsn": bank}, settings)
    request = ReadRequest(StreamSpec(name="everything", table="public.everything"))
    with connection.read(request) as reader:
        pulled = reader.read_all().sort_by("id")
    found = landed(engine, source, "everything")
    told = {r["id"]: r["_sis_op"] for r in log_of(engine, source, "everything") if r["id"] is not None}
    assert {told[n] for n in range(100, 100 + len(rows))} == {"insert"}
    assert found.schema.names == pulled.schema.names
    different = [
        f"{kind}: {found.column(name)} {pulled.column(name)}"
        for kind, name in names.items()
        if found.column(name).type != pulled.column(name).type
        or not _same(found.column(name), pulled.column(name))
    ]
    assert not different


def _same(one: Any, other: Any) -> bool:
    """Cell by cell, down to the bits: dates beyond Python's, NaN and -0.0 too."""
    ours, theirs = one.combine_chunks(), other.combine_chunks()
    if pa.types.is_floating(ours.type) or pa.types.is_temporal(ours.type):
        bits = pa.int32() if ours.type.bit_width == 32 else pa.int64()
        ours, theirs = ours.view(bits), theirs.view(bits)
    return bool(ours.equals(theirs) or repr(ours.to_pylist()) == repr(theirs.to_pylist()))


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("date", "'infinity'", "infinity"),
        ("timestamptz", "'-infinity'", "infinity"),
        ("numeric(5,2)", "'NaN'", "NaN"),
        ("int[]", "'{{1},{2}}'", "several dimensions"),
    ],
)
def test_what_a_pull_refuses_stops_the_capture_with_the_same_error(
    engine: Engine, bank: str, kind: str, value: str, said: str
) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute(f"CREATE TABLE odd (id int PRIMARY KEY, v {kind})")
        source = captured(bank, {"table": "public.odd"})
        with pytest.raises(DataError, match=said), capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute(f"INSERT INTO odd VALUES (1, {value})")
            caught_up(engine, source, bank, running)


def test_they_are_null_where_the_connection_says_so(engine: Engine, bank: str) -> None:
    with psycopg.connect(bank, autocommit=True) as db:
        db.execute("CREATE TABLE odd (id int PRIMARY KEY, d date, t timestamp, n numeric(5,2))")
        connection = {"kind": "postgres", "dsn": bank, "special_values": "null"}
        source = captured(bank, {"table": "public.odd"}, connection=connection)
        with capturing(engine, source) as running:
            caught_up(engine, source, bank, running)
            db.execute(
                "INSERT INTO odd VALUES (1, 'infinity', '-infinity', 'NaN'), (2, '2026-01-01', now(), 1)"
            )
            caught_up(engine, source, bank, running)
    first = landed(engine, source, "odd").to_pylist()[0]
    assert first == {"id": 1, "d": None, "t": None, "n": None}
