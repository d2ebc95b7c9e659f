"""A disk of a few megabytes, to be filled to its last byte."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class SmallDisk:
    """A folder on a file system of its own. Where nobody may mount one, a bound on the size of files, laid on the
    processes while the disk is "full", ends their writing in the same way.

    Attributes:
        mounted: whether it is a file system.
    """

    folder: Path
    mounted: bool
    _bound: list[int] = field(default_factory=list)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self, *processes: int) -> None:
        """From now on the processes' writes find no room."""
        if not self.mounted:
            self._bound = list(processes)
            for process in processes:
                resource.prlimit(process, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            return
        with self._ballast.open("wb", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while ballast.write(bytes(size)) == size:
                        continue
                except OSError:
                    continue

    def free(self) -> None:
        """There is room again."""
        if self.mounted:
            self._ballast.unlink()
        for process in self._bound:
            if Path(f"/proc/{process}").exists():
                resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        self._bound = []


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[SmallDisk]:
    """Mounts it at the folder, if that is allowed; unmounts it at the end."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "small-disk", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield SmallDisk(folder, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
