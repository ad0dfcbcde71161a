"""Oracle's codes: `ORA-nnnnn` of the server and the network, `DPY-` and `DPI-` of the Python drivers.

Meanings from Oracle's "Database Error Messages"; the codes that may pass are those that the drivers list as
recoverable, and those whose documented action is to try again.
"""

from __future__ import annotations

from functools import lru_cache

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict

__all__ = ("by_oracle_code", "find_oracle_code")

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _B, _M = ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC, ErrorType.MEMORY

# A group: type, retryable, numbers.
_ORA: tuple[tuple[ErrorType, bool, str], ...] = (
    # Connection lost, server starting or stopping, listener busy or away.
    (_N, True, "22 24 25 26 28 31 45 107 376 378 603 609 1012 1033 1034 1041 1043 1089 1090"),
    (_N, True, "1092 1109 2396 3111 3113 3114 3117 3135 3136 3156 12150 12151 12152 12153"),
    (_N, True, "12157 12161 12170 12203 12224 12225 12230 12231 12233 12500 12502 12505 12510 12511 12514"),
    (_N, True, "12515 12516 12518 12519 12520 12521 12522 12523 12525 12526 12527 12528 12529 12530 12531"),
    (_N, True, "12533 12535 12536 12537 12540 12541 12542 12543 12545 12547 12549 12552 12555 12560 12561"),
    (_N, True, "12564 12566 12569 12570 12571 12583 12602 12606 12607 12608 12609 12637 16456 17002 17008"),
    (_N, True, "17410 17447 17800 18730 25400 25401 25402 25403 25405 25407 25408 25409 25425 29276 29770"),
    # Locks, conflicts, limits that clear, transactions to run again.
    (_S, True, "18 19 20 51 54 55 57 60 64 99 104 471 1000 1013 1453 1555 1591 2046 2049 2391 2393"),
    (_S, True, "1551 4020 4021 4022 4061 4065 4068 8103 8176 8177 8186 12829 14403"),
    (_S, True, "16000 16751 24550 24756 24763 30006 40 43 56 1652 12801 12805 12842 21779"),
    (_M, True, "4030 4031 27102 12853"),
    # Credentials and rights.
    (_N, False, "1004 1005 1017 1031 1040 1045 1749 1924 1950 1988 1994 28000 28001 28002 28003 28007"),
    (_N, False, "28008 28009 28030 28040 28365 28759 28860 28865 29024 29106 12154 12162 12163 12638 12650"),
    (_N, False, "12660 1918 24247 41900 990 46305"),
    # Values and constraints.
    (_V, False, "1 1400 1401 1402 1403 1405 1407 1422 1426 1428 1437 1438 1439 1440 1441 1451 1455 1457"),
    (_V, False, "1458 1460 1461 1465 1476 1481 1482 1489 1722 1723 1790 1795 1801 1810 1821 1830 1839"),
    (_V, False, "1840 1841 1843 1847 1850 1851 1852 1855 1858 1861 1862 1873 1878 1881 2290 2291 2292"),
    (_V, False, "2293 2294 2296 2299 6502 12899 12983 14400 14401 14402 22275 22835 22922 2091 40441 40442"),
    (_V, False, "40478 40479 40587 40590 42213 1427 6592 24335 24345 22925"),
    # No more room: a person extends the tablespace.
    (_S, False, "1536 1552 1562 1628 1631 1632 1650 1653 1654 1655 1658 1659 1683 1688 1691 1692 1693"),
    (_S, False, "600 604 607 1110 1113 1114 1115 1116 1157 1578 1580 7445 19502 19504 27037 27063 27072"),
    (_S, False, "1001 1002 1003 1006 1007 1008 1009 1023 1036 1456 1466 4091 14450 14452 14551 14552 24338"),
    (_C, False, "4043 4042 4044 4045 4063 4080 4067 6508 6512 6550 6553 6564 6576 1418 1430 1442 1449 1450"),
)

_NUMBERS = {int(number): group[:2] for group in reversed(_ORA) for number in group[2].split()}

# code of the driver -> (type, retryable)
_DRIVER: dict[str, tuple[ErrorType, bool]] = {
    "DPY-1001": (_N, True),  # not connected
    "DPY-1002": (_S, False),  # pool is closed
    "DPY-4005": (_S, True),  # timed out waiting for a connection of the pool
    "DPY-4011": (_N, True),  # the database or network closed the connection
    "DPY-4024": (_N, True),  # call timeout
    "DPY-4031": (_N, False),
    "DPY-4026": (_S, False),  # tnsnames.ora not found
    "DPY-4027": (_S, False),
    "DPY-4000": (_S, False),
    "DPY-4001": (_N, False),  # no credentials given
    "DPY-3001": (_C, False),
    "DPY-3010": (_C, False),
    "DPY-3015": (_N, False),
    "DPY-6000": (_N, True),  # listener refused the connection
    "DPY-6001": (_N, True),  # service is not registered with the listener (yet)
    "DPY-6002": (_N, False),  # certificate does not match
    "DPY-6003": (_N, False),  # SID is not registered
    "DPY-6005": (_N, True),  # cannot connect
    "DPY-6006": (_N, False),  # certificate
    "DPI-1010": (_N, True),  # not connected
    "DPI-1047": (_S, False),  # client library cannot be loaded
    "DPI-1067": (_N, True),  # call timeout
    "DPI-1080": (_N, True),  # connection was closed
}


def by_oracle_code(code: str, text: str = "") -> Verdict | None:
    """The verdict on `"ORA-00060"`, `"DPY-4011"` …; None for one that is not known.

    `text` is the whole message: a driver's code often has the server's `ORA-` code after it.
    """
    if code in ("DPY-6000", "DPY-6001", "DPY-6005", "DPI-1080", "DPY-4011", "ORA-00604", "ORA-12801") and text:
        inner = find_oracle_code(text, after=code)
        if inner is not None:
            return _known(inner)
        if code == "DPY-6005" and ("certificate" in text or ("TLS" in text.upper() and "VERIFY" in text.upper())):
            return _verdict(code, _N, False)
    return _known(code)


@lru_cache(maxsize=1024)
def _known(code: str) -> Verdict | None:
    if not code.startswith(("ORA-", "TNS-")):
        error_type, retryable = _DRIVER.get(code, (_S, False))
        return _verdict(code, error_type, retryable)
    number = int(code[4:])
    if 20000 <= number <= 20999:
        return _verdict(code, _B, False)  # RAISE_APPLICATION_ERROR: the database's own domain rule
    error_type, retryable = _NUMBERS.get(number, (_C, False))  # most of the rest are statements that stay wrong
    return _verdict(code, error_type, retryable)


def _verdict(code: str, error_type: ErrorType, retryable: bool) -> Verdict:
    severity = ErrorSeverity.CRITICAL if code in ("ORA-00600", "ORA-07445", "ORA-01578") else None
    return Verdict(error_type, retryable, code, severity=severity, rule=f"oracle.{code}", context={"code": code})


def find_oracle_code(text: str, after: str = "") -> str | None:
    """The first code such as `"ORA-00942"` in `text` (after the text `after`), or None."""
    start = text.find(after) + len(after) if after else 0
    best = -1
    for prefix in ("ORA-", "TNS-", "DPY-", "DPI-"):
        at = text.find(prefix, start)
        if at >= 0 and (best < 0 or at < best):
            best = at
    if best < 0:
        return None
    end = best + 4
    while end < len(text) and end < best + 9 and "0" <= text[end] <= "9":
        end += 1
    digits = text[best + 4 : end]
    prefix = text[best : best + 4]
    if not digits:
        return None
    return f"{prefix}{digits.zfill(5)}" if prefix in ("ORA-", "TNS-") else f"{prefix}{digits}"
