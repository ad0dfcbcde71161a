"""Error numbers of MySQL, MariaDB, TiDB and Vitess: what each means for a retry.

Names and meanings from MySQL's "Server Error Message Reference" and "Client Error Message Reference", MariaDB's list of
error codes and TiDB's "Error Codes and Troubleshooting". Every number that can pass by itself is listed; most of the
rest are statements that stay wrong, so an unlisted server number is permanent.
"""

from __future__ import annotations

from functools import lru_cache

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict

__all__ = ("by_mysql_number",)

_N, _S, _V = ErrorType.NETWORK, ErrorType.SYSTEM, ErrorType.VALIDATION
_C, _B, _M, _P = ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC, ErrorType.MEMORY, ErrorType.PARSING

_HIGH, _CRITICAL = ErrorSeverity.HIGH, ErrorSeverity.CRITICAL

# A group: type, retryable, severity or None, numbers.
_GROUPS: tuple[tuple[ErrorType, bool, ErrorSeverity | None, str], ...] = (
    # The connection failed or was lost: 1042 host name, 1043 handshake, 1053 and 1077-1080 shutdown, 1152-1161 network,
    # 1184 aborted, 1218 replica's connection, 1429 foreign source, 1927 killed (MariaDB), 2001-2048 and 2055 client,
    # 3168 and 3032 server not available or offline, 3169 session killed, 4031 idle session ended.
    (_N, True, None, "1042 1043 1053 1077 1078 1079 1080 1081 1152 1154 1155 1156 1157 1158 1159 1160"),
    (_N, True, None, "1161 1184 1189 1190 1218 1429 1430 1927 2000 2001 2002 2003 2004 2005 2006 2009"),
    (_N, True, None, "2010 2011 2012 2013 2015 2016 2017 2018 2024 2025 2026 2027 2048 2055 2070"),
    (_N, True, None, "3032 3168 3169 4031"),
    # Locks, deadlocks, conflicts: 1015, 1027, 1205, 1206, 1213, 1614 XA deadlock, 3058 and 3132 user locks,
    # 3133 timeout, 3177 refused, 3572 NOWAIT, 1020 row changed since read, 1412 table definition changed,
    # 1615 needs re-prepare, 3101 rolled back by group replication, 1180 error during COMMIT (Galera certification).
    (_S, True, None, "1015 1020 1027 1180 1192 1205 1206 1213 1223 1402 1412 1613 1614 1615 1637 3058"),
    (_S, True, None, "3098 3101 3132 3133 3177 3197 3572"),
    # The server is full or busy for now: 1040 connections, 1135 threads, 1203 and 1226 per-user limits,
    # 1021 disk full (the server itself waits), 1461 prepared statements, 1297 temporary error of a storage engine,
    # 1317 interrupted, 1907 and 3024 statement timeout, 1969 max_statement_time.
    (_S, True, None, "1021 1040 1135 1203 1226 1297 1317 1461 1878 1907 1969 3019 3024 3166"),
    # Read only for now: 1290 (only when its text says so), 1836, 1874; a primary on its way down or a replica.
    (_S, True, None, "1836 1874"),
    # TiDB: 8002 and 8022 transaction retry, 8005 and 9007 write conflict, 8027 and 8028 schema changed,
    # 9001-9006 and 9010-9013 placement driver, store or region busy.
    (_S, True, None, "8002 8005 8022 8027 8028 8229 9007"),
    (_N, True, None, "9001 9002 9003 9004 9005 9010 9011 9012 9013"),
    (_M, True, _HIGH, "1037 1041 2008 3015 3044 5"),
    # Not allowed in: a person must act.
    (_N, False, _HIGH, "1044 1045 1095 1129 1130 1131 1132 1133 1142 1143 1211 1227 1251 1370 1410 1449"),
    (_N, False, _HIGH, "1524 1698 1820 1862 1873 2007 2047 2054 2059 2061 3118 3159 3202 4151"),
    # Values that the table does not take; constraints.
    (_V, False, None, "1022 1048 1062 1138 1153 1162 1169 1172 1216 1217 1242 1263 1264 1265 1292 1300"),
    (_V, False, None, "1364 1365 1366 1367 1369 1406 1411 1423 1425 1426 1427 1439 1441 1451 1452 1525"),
    (_V, False, None, "1526 1557 1586 1690 1748 1761 1762 1859 1863 2020 2032 3020 3064 3065 3105 3150"),
    (_V, False, None, "3155 3156 3819 3903 4025 8004 1097 1104 1153 1197 1301 1339 1390 3170 4000"),
    # Text inside a column that cannot be read.
    (_P, False, None, "3069 3140 3141 3142 3144 3145"),
    # SIGNAL in a routine: the database's own domain rule.
    (_B, False, None, "1643 1644 1645"),
    # Damage and disks.
    (_S, False, _CRITICAL, "1033 1034 1035 1194 1195 1877 3000 144 145 126 127"),
    (_S, False, _HIGH, "1003 1004 1016 1017 1024 1025 1026 1030 1036 1038 1105 1114 1119 1296 1436 1467"),
    # Misuse of the connection or the transaction.
    (_S, False, None, "1179 1207 1295 1399 1400 1568 1792 2014 2029 2030 2031 2033 2034 2050 2053 2056"),
    (_S, False, None, "1289 1290 2057 2058 2062"),
)

_NUMBERS = {int(number): group[:3] for group in reversed(_GROUPS) for number in group[3].split()}


@lru_cache(maxsize=1024)
def _known(number: int) -> Verdict | None:
    found = _NUMBERS.get(number)
    if found is None:
        # Unlisted: a statement the server refuses. Numbers outside the server's ranges are not MySQL's.
        if not (1000 <= number < 2000 or 3000 <= number < 6000 or 10000 <= number < 14000):
            return None
        found = (_C, False, None)
    error_type, retryable, severity = found
    return _verdict(number, error_type, retryable, severity)


def _verdict(number: int, error_type: ErrorType, retryable: bool, severity: ErrorSeverity | None = None) -> Verdict:
    code = f"MySQL {number}"
    return Verdict(error_type, retryable, code, severity=severity, rule=f"mysql.{number}", context={"errno": number})


def by_mysql_number(number: int, text: str = "") -> Verdict | None:
    """The verdict on an error number, e.g. 1213; None when the number cannot be MySQL's.

    `text` is the server's message: some numbers say only that an option forbids it, and the text says which.
    """
    if number in (1290, 1047, 1105, 2026, 1030) and text:
        return _by_text(number, text.lower()) or _known(number)
    return _known(number)


def _by_text(number: int, text: str) -> Verdict | None:
    if number == 1290 and ("read-only" in text or "read_only" in text):
        return _verdict(number, _S, True)
    if number == 1047 and "wsrep" in text:  # Galera: this node is not (or no longer) part of the cluster
        return _verdict(number, _N, True)
    if number == 1030 and ("no space" in text or " 28 " in text or "disk full" in text):
        return _verdict(number, ErrorType.FILESYSTEM, True, _HIGH)
    if number == 2026 and ("certificate" in text or "hostname" in text or "required" in text):
        return _verdict(number, _N, False, _HIGH)
    if number == 1105 and any(word in text for word in _VITESS):
        return _verdict(number, _S, True)
    return None


# Vitess reports its own faults as 1105 with the status of its RPC in the text.
_VITESS = ("aborted", "unavailable", "deadline_exceeded", "resource_exhausted", "connection", "try again", "timeout")
