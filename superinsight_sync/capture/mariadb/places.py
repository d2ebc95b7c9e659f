"""Places in a MariaDB binlog: GTIDs, which mean the same on every replica, as texts that sort as the log does."""

from dataclasses import dataclass, field
from typing import Self


@dataclass
class GtidState:
    """What has been read: the last transaction of each replication domain.

    A server counts the transactions of a domain up, so the sum of the numbers grows with each one, and orders places.
    """

    last: dict[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> Self:
        """Of the server's notation: ``0-1-55,1-2-7``."""
        found = (part.strip().split("-") for part in text.split(",") if part.strip())
        return cls({int(domain): (int(server), int(number)) for domain, server, number in found})

    def advance(self, domain: int, server: int, number: int) -> bool:
        """This transaction comes next; whether its number is a later one."""
        _, before = self.last.get(domain, (0, 0))
        self.last[domain] = (server, number)
        return number > before

    @property
    def gtids(self) -> str:
        """In the server's notation."""
        return ",".join(f"{domain}-{s}-{n}" for domain, (s, n) in sorted(self.last.items()))

    @property
    def at(self) -> str:
        """The position of the changes of the last transaction."""
        return f"{self._sum} {self.gtids}"

    @property
    def behind(self) -> str:
        """The position behind the last transaction, before the next one."""
        return f"{self._sum}+{self.gtids}"

    @property
    def _sum(self) -> str:
        return f"{sum(number for _, number in self.last.values()):020d}"


def gtids_of(position: str) -> str:
    """The inverse of `GtidState.behind`."""
    return position.partition("+")[2]
