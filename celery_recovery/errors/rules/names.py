"""What a class that nobody knows calls itself, and what an opaque exception says: weak hints, asked late.

Teams name their exceptions after what happened: `PaymentGatewayTimeout`, `InsufficientFunds`, `MissingColumnError`. The
first entry with a pattern that is found in the name counts; an entry stands before those that it must win over.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict, permanent, transient
from celery_recovery.errors.rules.status import by_status_text

__all__ = ("SUBJECT", "by_message", "by_name")

#: Rule of the names that only say where a fault was noticed (`GatewayError`), not what happened.
SUBJECT = "subject"

_T = ErrorType
_HIGH, _CRITICAL = ErrorSeverity.HIGH, ErrorSeverity.CRITICAL

# (name of the rule, its verdict, patterns separated by blanks). A `_?` lets CamelCase and snake_case both match.
_NAMES: tuple[tuple[str, Verdict, str], ...] = (
    (
        "permanent",
        permanent(_T.BUSINESS_LOGIC),
        r"non[_-]?retr not[_-]?retr unretr permanent unrecoverable irrecoverable poison fatal",
    ),
    (
        "rate_limit",
        transient(_T.NETWORK, "rate limit"),
        r"""rate_?limit throttl too_?many_?(?:requests|calls|connections|clients) slow_?down back_?off
        back_?pressure flood (?:connection|concurrency)_?limit""",
    ),
    (
        "lock",
        transient(_T.SYSTEM),
        r"""deadlock lock_?(?:timeout|error|exception|held|not_?acquired|contention)
        already_?(?:locked|running|in_?progress) (?<!b)(?<!un)(?<!account)(?<!account_)(?<!user)(?<!card)locked
        concurren stale_?(?:data|object|version|read) optimistic serialization_?(?:failure|conflict)
        race_?condition contention not_?(?:the_?)?leader leader_?(?:election|changed|lost) replica_?lag failover""",
    ),
    (
        "validation",  # data about the network, not a fault of it
        permanent(_T.VALIDATION),
        r"(?:invalid|illegal|unsupported|malformed|missing)_?(?:network|gateway|socket|transport|dns|service|upstream)",
    ),
    ("timeout", transient(_T.NETWORK, "timeout"), r"time_?d?_?out time_?limit deadline"),
    ("circuit", transient(_T.SYSTEM, "circuit open"), r"circuit breaker_?open bulkhead"),
    ("memory", transient(_T.MEMORY), r"out_?of_?memory memory(?:_?limit|_?error|_?exhausted) \boom"),
    ("disk", transient(_T.FILESYSTEM, severity=_CRITICAL), r"disk_?full no_?space storage_?full out_?of_?disk"),
    (
        "access",
        permanent(_T.BUSINESS_LOGIC, severity=_HIGH),
        r"""unauthor unauthent authenticat authoriz forbidden (?:permission|access)_?(?:denied|error) not_?permitted
        credential (?:invalid|expired|bad|missing)_?(?:token|api_?key|signature|password)
        login_?(?:failed|error) \bo?auth""",
    ),
    ("certificate", permanent(_T.NETWORK, severity=_HIGH), r"certificate ssl_?verif untrusted"),
    (
        "business",
        permanent(_T.BUSINESS_LOGIC),
        r"""insufficient out_?of_?stock sold_?out not_?enough declin (?<!connection)(?<!connection_)reject overdraw
        overdraft fraud ineligib not_?eligible duplicate already expired suspended cancell?ed
        (?:order|account|card|product|item|seat|stock|customer|user|invoice|coupon)_?(?:\w*_)?(?:closed|blocked|inactive)
        (?:order|account|card|product|item|seat|stock|customer|user|invoice|coupon)_?(?:disabled|frozen|unavailable|locked)
        business domain_?(?:error|exception|rule) rule_?(?:error|viol|fail|broken) policy violation
        limit_?(?:exceeded|reached) quota credit_?limit (?<!load)(?<!load_)balance not_?allowed conflict refund
        chargeback payment_?required prohibited precondition feature_?(?:not_?available|unavailable|disabled)
        too_?(?:young|old|late|early|far|heavy|expensive) empty_?(?:basket|cart|order)
        (?:window|period)_?(?:over|closed) cut_?off_?(?:\w*_)?(?:time_?)?(?:passed|missed|over)""",
    ),
    (
        "remote",
        transient(_T.NETWORK),
        r"""unavailable
        connect(?:ion)?_?(?:error|exception|fail|fault|lost|closed|reset|refused|aborted|dropped|broken)
        connection_?(?:reject|issue|problem|interrupted) (?:can_?not|could_?not|cant|failed_?to|fail)_?connect
        disconnect unreachable (?:bad_?)gateway\b server_?(?:busy|down) over_?load
        over_?capacity (?<![a-z])busy busy_?(?:error|exception) outage temporar transient
        retr(?:y|i)able try_?again retry_?later please_?retry recoverable broken_?pipe
        host_?(?:down|lookup) maintenance broker_?down no_?route service_?down
        not_?ready [a-z]_?down(?:_?error|_?exception|time)?\Z interrupted""",
    ),
    (
        SUBJECT,
        transient(_T.NETWORK),
        r"""network gateway (?:internal_?)?server_?(?:error|fault) upstream socket transport dns broker_?error
        service_?(?:error|exception) (?:remote|api|http|backend)_?fail""",
    ),
    (
        "schema",
        permanent(_T.SCHEMA),
        r"""schema (?:missing|unknown|unexpected|extra)_?(?:column|field|key|attribute|property|header|table)
        (?:column|field|key|table|attribute)s?_?(?:missing|not_?found|mismatch) contract version_?mismatch
        incompatib (?:type|shape|dtype)_?mismatch migration""",
    ),
    (
        "parsing",
        permanent(_T.PARSING),
        r"""(?<!s)pars(?:e|ing|er) decod deseriali unmarshal unpack malform corrupt syntax format_?(?:error|exception)
        encod (?:bad|invalid|wrong|unknown)_?(?:json|xml|csv|yaml|format|file_?format|encoding|payload_?format)
        seriali[sz] unreadable truncated lexer tokeniz checksum crc_?(?:error|mismatch)""",
    ),
    (
        "missing",
        permanent(_T.BUSINESS_LOGIC),
        r"""not_?found does_?not_?exist no_?such not_?exist gone\b no_?result
        unknown_?(?:user|order|customer|account|id|product|tenant|entity)""",
    ),
    (
        "settings",
        permanent(_T.SYSTEM, severity=_HIGH),
        r"config improperly settings not_?installed dependency_?missing missing_?(?:setting|config|env)",
    ),
    (
        "validation",
        permanent(_T.VALIDATION),
        r"""validat invalid illegal not_?(?:supported|implemented|acceptable) ambiguous
        bad_?(?:request|input|value|data|argument|param) constraint
        out_?of_?(?:range|bounds) unsupported unprocessable required missing
        too_?(?:long|large|big|short|small|many) wrong_?(?:type|value) (?:input|data|integrity)_?error
        empty_?(?:file|input|payload|data|result) unacceptable unexpected_?(?:value|input) mismatch""",
    ),
    (
        "resource",
        transient(_T.SYSTEM),
        r"""(?<!retry)(?<!retry_)(?<!tries)(?<!tries_)(?<!attempts)(?<!attempts_)exhausted
        pool_?(?:timeout|empty|full) worker_?(?:lost|died|crash) shutting_?down
        resource_?(?:busy|limit) capacity""",
    ),
)

# The same for texts; here one pattern a line.
_MESSAGES: tuple[tuple[str, Verdict, str], ...] = (
    (
        "memory",
        transient(_T.MEMORY),
        r"""out of memory
        cannot allocate memory
        unable to allocate
        \bOOM\b
        bad_alloc
        memory limit""",
    ),
    (
        "disk",
        transient(_T.FILESYSTEM, severity=_CRITICAL),
        r"""no space left
        disk (?:is )?full
        disk quota""",
    ),
    (
        "tls",
        permanent(_T.NETWORK, severity=_HIGH),
        r"""certificate[ _]verify[ _]failed
        certificate (?:has )?expired
        self[- ]signed""",
    ),
    (
        "rate_limit",
        transient(_T.NETWORK, "rate limit"),
        r"""rate[- ]limit
        too many (?:requests|connections|clients)
        throttl
        slow down""",
    ),
    (
        "network",
        transient(_T.NETWORK),
        r"""tim(?:ed|e)[ -]?out
        connection (?:was |has been |is )?(?:refused|reset|aborted|closed|lost|dropped|broken|error|failed|timed)
        connection (?:was |has been )?(?:terminated|forcibly)
        broken pipe
        unreachable
        no route to host
        name or service not known
        temporary failure
        name resolution
        service (?:is )?(?:temporarily )?unavailable
        temporarily unavailable
        bad gateway
        gateway time
        server (?:has gone away|disconnected|closed)
        remote end closed
        unexpected eof
        network (?:is|error)
        could not connect
        can(?:no|')t connect
        failed to connect
        lost connection
        not connected
        peer closed
        overloaded""",
    ),
    (
        "system",
        transient(_T.SYSTEM),
        r"""can't start new thread
        cannot schedule new futures
        too many open files
        resource temporarily
        try again
        deadlock
        lock (?:wait )?timeout
        (?:is|database|table|already|resource) locked
        could not obtain lock
        unable to acquire
        pool (?:is )?(?:exhausted|full)
        shutting down
        being (?:re)?started
        changed size during iteration""",
    ),
    (
        "access",
        permanent(_T.NETWORK, severity=_HIGH),
        r"""permission denied
        access denied
        unauthorized
        forbidden
        invalid (?:api key|credentials|token)
        authentication failed""",
    ),
    (
        "file",
        permanent(_T.FILESYSTEM),
        r"""no such file
        is a directory
        not a directory
        read-only file system
        file exists""",
    ),
)


def _anchor(pattern: str) -> str:
    """Letters that every match of `pattern` has: those it begins with, or else those it ends with."""
    leading = re.match(r"(?:\\b)?([a-z ',-]*)([?]?)", pattern, re.IGNORECASE)
    found = (leading[1][:-1] if leading[2] else leading[1]) if leading else ""
    return (found or re.split(r"[)\]?]", pattern)[-1]).lower()


def _compiled(name: str, verdict: Verdict, words: str) -> tuple[re.Pattern[str], Verdict]:
    return re.compile("|".join(words.split()), re.IGNORECASE), replace(verdict, rule=name)


def _lines(lines: str) -> list[tuple[str, re.Pattern[str]]]:
    patterns = [line.strip() for line in lines.splitlines()]
    return [(_anchor(pattern), re.compile(pattern, re.IGNORECASE)) for pattern in patterns]


_BY_NAME = [_compiled(*entry) for entry in _NAMES]
# Looking for a few letters first is some fifty times as fast as trying every pattern at every place of a long text.
_BY_MESSAGE = [(_lines(lines), replace(verdict, rule=name)) for name, verdict, lines in _MESSAGES]


@lru_cache(maxsize=1024)
def by_name(name: str) -> Verdict | None:
    """The verdict on a bare class name."""
    return next((verdict for pattern, verdict in _BY_NAME if pattern.search(name)), None)


def by_message(text: str) -> Verdict | None:
    """The verdict on the text of an exception whose class says nothing; only its first 500 characters are read."""
    head = text[:500]
    found = by_status_text(head)
    if found is not None:
        return found
    low = head.lower()
    for lines, verdict in _BY_MESSAGE:
        if any(anchor in low and pattern.search(low) for anchor, pattern in lines):
            return verdict
    return None
