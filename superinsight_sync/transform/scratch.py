"""The database a refine runs in: locked down, bounded in memory, its spill files deleted with it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from superinsight_sync.core.errors import ConfigError, DataError, SisError, TransientError

THREADS = 2


class Scratch:
    """An in-memory DuckDB that can reach no file, network, extension or setting.

    Args:
        scratch_dir: where the private folder for spill files is made; None for one that may not spill.
        memory_limit_bytes: DuckDB's limit; what is over it spills.
    """

    def __init__(self, scratch_dir: Path | None, memory_limit_bytes: int) -> None:
        self._folder: Path | None = None
        if scratch_dir is not None:
            scratch_dir.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="refine-", dir=scratch_dir))
        self.connection = duckdb.connect(
            config={
                "enable_external_access": "false",
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
                "python_enable_replacements": "false",
                "memory_limit": f"{memory_limit_bytes}B",
                "temp_directory": str(self._folder or ""),
                "threads": str(THREADS),
            }
        )
        self.connection.execute("LOAD icu; SET GLOBAL TimeZone = 'UTC'; SET lock_configuration = true")

    def close(self) -> None:
        """Closes the database and deletes its folder. May be called twice."""
        self.connection.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def told(where: str, *, with_data: bool) -> Iterator[None]:
    """DuckDB's errors as ours, at `where`. Its messages quote values: with data none of them is passed on."""
    try:
        yield
    except SisError as error:
        raise error.at(where) from None
    except duckdb.OutOfMemoryException:
        raise ConfigError(
            "the step does not fit into the memory and scratch space it may use",
            where=where,
            hint="Raise SIS_MEMORY_LIMIT_MB, or free disk space",
        ) from None
    except duckdb.IOException:
        raise TransientError("the scratch folder cannot be written", where=where) from None
    except duckdb.Error as error:
        if not with_data:
            raise ConfigError(str(error).splitlines()[0], where=where) from None
        raise DataError(
            "a value cannot be computed",
            where=where,
            hint="Guard the expression with TRY(…), or set such records aside in a rule before it",
        ) from None
