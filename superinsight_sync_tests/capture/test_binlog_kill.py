"""MariaDB: writers write, capture and server are killed again and again: afterwards every table equals the source."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from superinsight_sync_tests.capture.bank import caught_up, landed, log_of
from superinsight_sync_tests.capture.shop import Shop
from superinsight_sync_tests.capture.test_kill import (
    ACCOUNTS,
    KILLS,
    RESTARTS,
    SEED,
    _forking,
    commits,
    engine_of,
    follow,
    source_of,
    wait_for,
)
from superinsight_sync_tests.servers.mariadb import MariadbServer, running_logged_mariadb

TABLES = (
    "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance decimal(14,2) NOT NULL, photo longblob)",
    "CREATE TABLE history (id bigint AUTO_INCREMENT PRIMARY KEY, account int, delta decimal(14,2), at datetime(6))",
    "CREATE TABLE flags (name varchar(9) PRIMARY KEY, value int)",
)


class Writer(threading.Thread):
    """A client that moves money, and does what else clients do; it goes on over crashes of the server."""

    def __init__(self, server: MariadbServer, dsn: str, number: int, over: threading.Event) -> None:
        super().__init__()
        self._server, self._name, self._over = server, dsn.rpartition("/")[2], over
        self._rng = random.Random(SEED + number)
        self.transactions = 0

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with self._server.connect(self._name) as db:
                    while not self._over.is_set():
                        self._transact(db)
            except (pymysql.Error, OSError):  # a deadlock, or the server is gone
                continue

    def _transact(self, db: "pymysql.Connection[pymysql.cursors.Cursor]") -> None:
        db.begin()
        with db.cursor() as cursor:
            self._work(cursor)
        if self._rng.random() < 0.1:
            db.rollback()
        else:
            db.commit()
            self.transactions += 1

    def _work(self, db: pymysql.cursors.Cursor) -> None:
        rng = self._rng
        one, other = sorted(rng.sample(range(1, ACCOUNTS + 1), 2))
        amount = f"{rng.randint(1, 10_000) / 100:.2f}"
        db.execute("UPDATE accounts SET balance = balance - %s WHERE id = %s", (amount, one))
        db.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", (amount, other))
        db.execute(
            "INSERT INTO history (account, delta, at) VALUES (%s, -%s, now(6)), (%s, %s, now(6))",
            (one, amount, other, amount),
        )
        match rng.randint(0, 9):
            case 0:
                db.execute("UPDATE accounts SET photo = repeat(%s, 300) WHERE id = %s", (amount, one))
            case 1:
                last = 50 * rng.randint(1, 40)
                db.execute("DELETE FROM history WHERE id %% 7 = %s AND id < %s", (one % 7, last))
            case 2:
                db.execute("REPLACE INTO flags VALUES (%s, %s)", (f"f{rng.randint(1, 5)}", one))
            case 3:
                db.execute("UPDATE history SET id = -id WHERE id = %s", (rng.randint(1, 2_000),))


@pytest.fixture
def server() -> Iterator[MariadbServer]:
    with running_logged_mariadb() as found:
        yield found


def test_kills_lose_nothing_and_double_nothing(server: MariadbServer, tmp_path: Path) -> None:
    shop = Shop(server)
    shop.run(*TABLES)
    shop.run(
        f"INSERT INTO accounts SELECT seq, concat('o', seq), 100, repeat(md5(seq), 100) FROM seq_1_to_{ACCOUNTS}"
    )
    source, engine, over = source_of(shop.dsn), engine_of(tmp_path), threading.Event()
    rng = random.Random(SEED)
    writers = [Writer(server, shop.dsn, n, over) for n in range(2)]
    _forking.set_forkserver_preload(
        ["superinsight_sync_tests.capture.test_kill", "deltalake", "duckdb", "polars"]
    )

    def started() -> Any:
        process = _forking.Process(target=follow, args=(tmp_path, shop.dsn), daemon=True)
        process.start()
        return process

    for writer in writers:
        writer.start()
    running = started()
    try:
        restarts = set(rng.sample(range(KILLS), RESTARTS))
        for number in range(KILLS):
            wait_for(commits(engine, source) + rng.randint(1, 5), engine, source, running)
            if number in restarts:
                server.restart()
            else:
                running.kill()
                running.join()
                running = started()
        over.set()
        for writer in writers:
            writer.join()
        caught_up(engine, source, shop.dsn)
    finally:
        over.set()
        running.kill()
        running.join()
    assert sum(w.transactions for w in writers) > 0
    with server.connect(shop.dsn.rpartition("/")[2]) as db, db.cursor(pymysql.cursors.DictCursor) as cursor:
        for stream in source.streams:
            cursor.execute(f"SELECT * FROM {stream.table} ORDER BY {stream.primary_key[0]}")
            assert landed(engine, source, stream.name).to_pylist() == list(cursor.fetchall()), stream.name
    inserted = [r["id"] for r in log_of(engine, source, "history") if r["_sis_op"] == "insert"]
    assert len(inserted) == len(set(inserted)), "a change landed twice"
    assert sum(landed(engine, source, "accounts").column("balance").to_pylist()) == 100 * ACCOUNTS
