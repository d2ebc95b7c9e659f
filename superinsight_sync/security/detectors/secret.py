"""`secret`: passwords, keys and tokens."""

from superinsight_sync.security.detection import NoOptions, Rule

Config = NoOptions
_PREFIXED = (
    r"(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{22,}"
    r"|glpat-[A-Za-z0-9_-]{20,}|xox[abeprs]-[A-Za-z0-9-]{10,}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}"
    r"|sis_(?:live|refresh)_[A-Za-z0-9_-]{20,}"
)
_JWT = r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
_PEM = r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
_ASSIGNED = r"(?i:password|passwd|pwd|secret|api[_-]?key|access[_-]?token)\s*[=:]\s*[^\s,;]{6,}"


class Secrets:
    """Known forms of keys; passwords by the column's name."""

    rank = 10

    def __init__(self, config: NoOptions) -> None: ...

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule(
                "secret",
                "secret",
                names=r"password|passwd|pwd|secret|api_?key|private_?key|credential|auth_?token|access_?token|token"
                r"|pin|cvv|cvc|otp",
                words=("密码", "口令", "密钥"),
                value=rf"{_PREFIXED}|{_JWT}|{_PEM}",
                by_chance=0.0,
                inside=rf"{_PEM}|\b(?:{_PREFIXED})|\b{_JWT}|\b{_ASSIGNED}",
            ),
        )


PLUGIN = Secrets
