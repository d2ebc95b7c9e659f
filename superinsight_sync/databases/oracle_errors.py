"""python-oracledb's errors → ours, by the server's ORA number or the driver's DPY number.

Numbers: Oracle Database Error Messages; python-oracledb's troubleshooting guide.
"""

import re

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.databases.errors import error_as, mapped

_CODE = re.compile(r"\b(ORA|DPY)-(\d{4,5})\b")


_HELP = "Check host, port and service name of `dsn`, and that the listener runs and can be reached"
_RIGHTS = "Grant the account CREATE SESSION and SELECT on the table, or check its name and schema"
_CODES: dict[type[SisError], dict[str, str]] = {
    AccessError: {
        "ORA-01017": "Check `user` and `password`; Oracle does not say which is wrong",
        "ORA-01005": "Check that `password` is set",
        "ORA-28000": "The account is locked: have an administrator unlock it",
        "ORA-28001": "The password has expired: set a new one",
        "ORA-01031": _RIGHTS,
        "ORA-01045": _RIGHTS,
        "ORA-41900": _RIGHTS,
        "ORA-12506": "The listener's access list refuses this machine",
    },
    TransientError: dict.fromkeys(
        [
            "ORA-12541",
            "ORA-12170",
            "ORA-12543",
            "ORA-12545",
            "ORA-12537",
            "ORA-12547",
            "ORA-12516",
            "ORA-12519",
            "ORA-12520",
            "ORA-12528",
            "ORA-12526",
            "ORA-12527",
            "ORA-12535",
            "ORA-12560",
            "ORA-12606",
            "ORA-12609",
            "DPY-6000",
            "DPY-6005",
            "DPY-4011",
        ],
        _HELP,
    )
    | dict.fromkeys(
        [
            "ORA-03113",
            "ORA-03114",
            "ORA-03135",
            "ORA-00028",
            "ORA-01012",
            "ORA-01033",
            "ORA-01034",
            "ORA-01089",
            "ORA-01090",
            "ORA-01092",
            "ORA-12153",
            "ORA-25408",
            "ORA-02396",
            "ORA-00060",
            "ORA-00054",
            "ORA-00018",
            "ORA-00020",
            "ORA-02391",
            "ORA-04021",
            "ORA-04068",
            "DPY-1001",
        ],
        "The server ended the session; it is tried again",
    )
    | {
        "ORA-01555": "The snapshot became too old: read in smaller windows, or have UNDO_RETENTION raised",
        "ORA-22924": "The snapshot became too old: read in smaller windows, or have UNDO_RETENTION raised",
        "ORA-01013": "The statement took longer than `statement_timeout`",
        "ORA-03136": "The statement took longer than `statement_timeout`",
        "DPY-4024": "The statement took longer than `statement_timeout`",
    },
    ConfigError: {
        "ORA-00942": f"There is no such table or view, or the account may not see it. {_RIGHTS}",
        "ORA-04043": "There is no such object",
        "ORA-00904": "There is no such column",
        "ORA-00936": "Check the query",
        "ORA-00933": "Check the query",
        "ORA-00923": "Check the query",
        "ORA-00918": "Give each column of the query a name of its own",
        "ORA-00972": "Check the query",
        "ORA-01456": "The query tried to write in a read-only transaction",
        "ORA-12514": "The listener knows no such service: check the service name of `dsn`",
        "DPY-6001": "The listener knows no such service: check the service name of `dsn`",
        "ORA-12505": "The listener knows no such SID: check `dsn`",
        "DPY-6003": "The listener knows no such SID: check `dsn`",
        "ORA-12154": "The TNS alias is not known: write host:port/service or a full descriptor",
        "DPY-4000": "The TNS alias is not known: write host:port/service or a full descriptor",
        "DPY-4026": "There is no tnsnames.ora: write host:port/service or a full descriptor",
        "DPY-4027": "There is no tnsnames.ora: write host:port/service or a full descriptor",
        "DPY-4018": "Write host:port/service or a full descriptor as `dsn`",
        "DPY-4015": "Write host:port/service or a full descriptor as `dsn`",
        "DPY-3015": "Have the account's password verifier renewed: it is of an old kind",
        "DPY-3010": "The server is older than 12.1, which the driver cannot talk to",
        "DPY-3001": "The server demands native network encryption; offer TLS (tcps://) instead",
        "DPY-3030": "Leave the column out or convert it with a query",
        "DPY-3002": "Leave the column out or convert it with a query",
    },
    DataError: dict.fromkeys(
        [
            "ORA-01722",
            "ORA-01438",
            "ORA-01426",
            "ORA-01476",
            "ORA-01830",
            "ORA-01841",
            "ORA-01843",
            "ORA-01847",
            "ORA-01858",
            "ORA-01861",
            "ORA-06502",
            "ORA-29275",
            "ORA-40478",
            "DPY-4035",
        ],
        "Check the values, or select them with a query that converts them",
    ),
}
_TLS = re.compile(r"\[SSL|certificate|DPY-6005.*SSL", re.IGNORECASE)


def mapped_oracle(error: BaseException, where: str = "connection") -> SisError:
    """The error as one of ours; of a chain of codes the first known one decides that the server named."""
    if isinstance(error, SisError):
        return error
    text = str(error)
    if _TLS.search(text):
        return error_as(
            ConfigError, error, where, "Check that the port speaks TLS and the certificate's name"
        )
    codes = [f"{kind}-{number}" for kind, number in _CODE.findall(text)]
    for code in sorted(codes, key=lambda c: c == "DPY-6005"):  # it wraps the reason
        for cls, hints in _CODES.items():
            if code in hints:
                return error_as(cls, error, where, hints[code])
    return mapped(error, where)
