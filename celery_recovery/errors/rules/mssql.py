"""Error numbers of SQL Server, Azure SQL and the DB-Library client: what each means for a retry.

Meanings from SQL Server's "Database Engine events and errors" (`sys.messages`) and Azure SQL's transient faults.
"""

from __future__ import annotations

from functools import lru_cache

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict

__all__ = ("by_mssql_number", "native_number")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _B, _M = ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC, ErrorType.MEMORY

# A group: type, retryable, numbers.
_GROUPS: tuple[tuple[ErrorType, bool, str], ...] = (
    # The connection failed or was lost: 2-258 and 10048-10065 from the network library, 17142 and 6005 shutdown,
    # 4060 and 40xxx Azure moving or throttling a database, 983-988 availability groups, 20002-20047 DB-Library.
    (_N, True, "-2 -1 2 19 20 53 64 121 233 258 615 921 922 926 927 942 945 976 978 979 982 983"),
    (_N, True, "988 4060 4221 6005 10048 10053 10054 10060 10061 10065 11001 17142 17189 17197 18401"),
    (_N, True, "18451 20002 20003 20004 20005 20006 20009 20011 20012 20017 20047 26073 35202 35206 35217"),
    (_N, True, "40143 40166 40197 40532 40540 40613 42108 42109 49918 49919 49920 41383 41384"),
    # Locks, conflicts and limits that clear: 1204-1222 locks, 3935-3966 and 41301-41839 snapshots and in-memory tables,
    # 8628-8651 memory grants and time-outs of the optimizer, 109xx and 40501-40553 limits of Azure.
    (_S, True, "596 601 617 669 852 1203 1204 1205 1211 1221 1222 1404 1807 3906 3935 3951 3952 3957"),
    (_S, True, "3958 3960 3961 3966 5030 5061 7604 8628 8645 8651 9515 10922 10928 10929 10936 14355"),
    (_S, True, "17809 17830 17889 40501 40544 40549 40550 40551 40552 40553 41301 41302 41305 41325 41839"),
    (_S, True, "14906 14868 997 30053"),
    (_M, True, "701 802 8902 41805 17803 17300 17312"),
    # Credentials and rights.
    (_N, False, "229 230 262 297 300 916 4064 4062 15151 15247 15404 17806 17892 18452 18456 18457 18458"),
    (_N, False, "18459 18460 18461 18470 18486 18487 18488 20014 33009 40607 40615 40914 42105 47073 6004"),
    # Values and constraints.
    (_V, False, "220 232 241 242 244 245 248 293 295 296 298 334 512 515 517 518 535 544 547 1505 1934"),
    (_V, False, "2601 2627 2628 3606 3607 3621 8101 8106 8114 8115 8134 8152 8169 8631 9420 9402 9417"),
    (_V, False, "13608 13609 13610 13614 13623 6522 9436 9455 8623 8632 1919 1946"),
    # THROW and RAISERROR without a number of their own: the database's own domain rule.
    (_B, False, "50000"),
    # Disks, damage, full files.
    (_S, False, "823 824 825 832 1101 3043 5180 5228 5229 7105 8621 8909 8928 9001 9002 17053 40544"),
)

_NUMBERS = {int(number): group[:2] for group in reversed(_GROUPS) for number in group[2].split()}


@lru_cache(maxsize=1024)
def by_mssql_number(number: int) -> Verdict:
    """The verdict on an error number such as 1205. Unlisted: statements that stay wrong (207, 208, 102 …)."""
    if number > 50000:
        error_type, retryable = _B, False  # a user's THROW
    else:
        error_type, retryable = _NUMBERS.get(number, (_C, False))
    severity = ErrorSeverity.CRITICAL if number in (823, 824, 825) else None
    return Verdict(
        error_type,
        retryable,
        f"SQL Server {number}",
        severity=severity,
        rule=f"mssql.{number}",
        context={"number": number},
    )


def native_number(text: str) -> int | None:
    """The server's number in an ODBC message such as `"[42000] […][SQL Server]Lock … exceeded. (1222) (SQLExec…)"`.

    Only what the server itself says has one: in the driver's own words ("[ODBC Driver 18 for SQL Server]TCP Provider:
    Error code 0x68 (104)") it is the operating system's.
    """
    if "[SQL Server]" not in text:
        return None
    start = text.find("(")
    while start >= 0:
        end = text.find(")", start)
        digits = text[start + 1 : end]
        if end > 0 and digits.isdigit() and digits != "0":
            return int(digits)
        start = text.find("(", start + 1)
    return None
