"""`ip`: addresses of machines."""

from superinsight_sync.security.checksums import is_ip
from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions


class IpAddresses:
    """IPv4 and IPv6 addresses; MAC addresses by the column's name."""

    rank = 30

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "ip",
                "ip",
                names=r"ip|ip_?addr(ess)?|ipv4|ipv6|mac_?addr(ess)?",
                value=r"\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*",
                holds=is_ip,
                by_chance=0.05,
                inside=r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-fA-F]{1,4}:){3,7}(?:[0-9a-fA-F]{1,4}\b|:)"
                r"|\b(?:[0-9a-fA-F]{1,4}:){1,6}:(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4})*)?",
                believed_in_text=False,
            ),
        )


PLUGIN = IpAddresses
