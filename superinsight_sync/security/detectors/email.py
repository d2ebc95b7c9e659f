"""`email`: e-mail addresses."""

from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions
_EMAIL = r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}"
_ANY_SCRIPT = r"[\p{L}\p{N}._%+'-]+@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+"
"""Without counts: they cost fifty times as much."""


class Emails:
    """E-mail addresses."""

    rank = 20

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "email",
                "email",
                names=r"e_?mail|mail|email_?addr(ess)?",
                words=("邮箱", "邮件"),
                value=_EMAIL,
                by_chance=0.0,
                inside=_ANY_SCRIPT,
            ),
        )


PLUGIN = Emails
