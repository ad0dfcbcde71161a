"""What a class that nobody knows calls itself, and what an opaque exception says: weak hints, asked late.

Teams name their exceptions after what happened: `PaymentGatewayTimeout`, `InsufficientFunds`, `MissingColumnError`. The
first pattern that is found in the name counts; a pattern stands before those that it must win over.
"""

from __future__ import annotations

import re

from celery_recovery.errors.model import ErrorSeverity, ErrorType
from celery_recovery.errors.rules.rule import Verdict, permanent, transient
from celery_recovery.errors.rules.status import by_status_text

__all__ = ("by_message", "by_name")

_T = ErrorType
_HIGH = ErrorSeverity.HIGH

_NAMES: tuple[tuple[str, Verdict, str], ...] = (
    (
        "permanent",
        permanent(_T.BUSINESS_LOGIC),
        r"non[_-]?retr|not[_-]?retr|unretr|permanent|unrecoverable|irrecoverable|poison|fatal",
    ),
    (
        "rate_limit",
        transient(_T.NETWORK, "rate limit"),
        r"rate_?limit|throttl|too_?many_?(?:requests|calls|connections|clients)|slow_?down|back_?off|back_?pressure|flood|(?:connection|concurrency)_?limit",
    ),
    ("lock", transient(_T.SYSTEM), r"deadlock|lock_?(?:timeout|error|exception|held|not_?acquired)|not_?locked\b|already_?"
                                   r"(?:locked|running|in_?progress)|(?<!b)(?<!un)locked|concurren|stale_?(?:data|object|"
                                   r"version)|optimistic|serialization_?(?:failure|conflict)|race_?condition|contention|not_?(?:the_?)?leader|leader_?(?:election|changed|lost)|replica_?lag|stale_?read|failover"),
    ("timeout", transient(_T.NETWORK, "timeout"), r"time_?d?_?out|timelimit|deadline"),
    ("circuit", transient(_T.SYSTEM, "circuit open"), r"circuit|breaker_?open|bulkhead"),
    ("memory", transient(_T.MEMORY), r"out_?of_?memory|memory(?:_?limit|_?error|exhausted)|\boom"),
    ("disk", transient(_T.FILESYSTEM, severity=ErrorSeverity.CRITICAL), r"disk_?full|no_?space|storage_?full|out_?of_?disk"),
    (
        "access",
        permanent(_T.BUSINESS_LOGIC, severity=_HIGH),
        r"unauthor|unauthent|authenticat|authoriz|forbidden|(?:permission|access)_?(?:denied|error)|not_?permitted|"
        r"credential|(?:invalid|expired|bad|missing)_?(?:token|api_?key|signature|password)|login_?(?:failed|error)|\bo?auth",
    ),
    ("certificate", permanent(_T.NETWORK, severity=_HIGH), r"certificate|ssl_?verif|untrusted"),
    (
        "business",
        permanent(_T.BUSINESS_LOGIC),
        r"insufficient|out_?of_?stock|sold_?out|not_?enough|declin|(?<!connection)(?<!connection_)reject|overdraw|overdraft|fraud|ineligib|not_?eligible|"
        r"duplicate|already|expired|suspended|cancell?ed|(?:order|account|card|product|item|seat|stock|customer|user|"
        r"invoice|coupon)_?(?:\w*_)?(?:closed|blocked|inactive|disabled|frozen|unavailable|locked)|business|domain_?(?:error|exception|rule)|"
        r"rule_?(?:error|viol|fail|broken)|policy|violation|limit_?(?:exceeded|reached)|quota|credit_?limit|(?<!load)(?<!load_)balance|not_?allowed|conflict|"
        r"refund|chargeback|payment_?required|prohibited",
    ),
    (
        "remote",
        transient(_T.NETWORK),
        r"unavailable|connect(?:ion)?_?(?:error|exception|fail|fault|lost|closed|reset|refused|aborted|dropped|broken|issue|"
        r"problem|interrupted)|(?:can_?not|could_?not|cant|failed_?to|fail)_?connect|disconnect|unreachable|network|"
        r"(?:bad_?)?gateway|(?:internal_?)?server_?(?:error|busy|down|fault)|over_?load|over_?capacity|(?<![a-z])busy|busy_?(?:"
        r"error|exception)|upstream|outage|temporar|transient|retr(?:y|i)able|try_?again|retry_?later|please_?retry|"
        r"recoverable|broken_?pipe|socket|transport|dns|host_?(?:down|lookup)|maintenance|broker_?(?:error|down)|no_?route|"
        r"service_?(?:error|down|exception)|not_?ready|(?:remote|api|http|backend)_?fail|(?:[a-z]_?)down(?:_?error|_?exception|time)?\Z|interrupted",
    ),
    (
        "schema",
        permanent(_T.SCHEMA),
        r"schema|(?:missing|unknown|unexpected|extra)_?(?:column|field|key|attribute|property|header|table)|"
        r"(?:column|field|key|table|attribute)s?_?(?:missing|not_?found|mismatch)|contract|version_?mismatch|incompatib|"
        r"(?:type|shape|dtype)_?mismatch|migration",
    ),
    (
        "parsing",
        permanent(_T.PARSING),
        r"pars(?:e|ing|er)|decod|deseriali|unmarshal|unpack|malform|corrupt|syntax|(?:bad|invalid|wrong|unknown)_?"
        r"(?:json|xml|csv|yaml|format|file_?format|encoding|payload_?format)|format_?(?:error|exception)|encod|seriali[sz]|"
        r"unreadable|truncated|lexer|tokeniz|checksum|crc_?(?:error|mismatch)",
    ),
    ("missing", permanent(_T.BUSINESS_LOGIC), r"not_?found|does_?not_?exist|no_?such|unknown_?(?:user|order|customer|account|"
                                              r"id|product|tenant|entity)|not_?exist|gone\b|no_?result"),
    ("settings", permanent(_T.SYSTEM, severity=_HIGH), r"config|improperly|settings|misconfig|not_?installed|dependency_?missing|"
                                                       r"missing_?(?:setting|config|env)"),
    (
        "validation",
        permanent(_T.VALIDATION),
        r"validat|invalid|illegal|bad_?(?:request|input|value|data|argument|param)|constraint|out_?of_?(?:range|bounds)|"
        r"unsupported|unprocessable|required|missing|too_?(?:long|large|big|short|small|many)|wrong_?(?:type|value)|(?:input|data|integrity)_?error|empty_?(?:file|input|payload|data|result)|"
        r"unacceptable|unexpected_?(?:value|input)|mismatch",
    ),
    ("resource", transient(_T.SYSTEM), r"exhausted|pool_?(?:timeout|empty|full)|worker_?(?:lost|died|crash)|shutting_?down|"
                                       r"resource_?(?:busy|limit)|capacity"),
)  # fmt: skip


def _compile(entries: tuple[tuple[str, Verdict, str], ...]) -> list[tuple[re.Pattern[str], Verdict]]:
    return [
        (re.compile(pattern, re.IGNORECASE), Verdict(v.error_type, v.retryable, v.code, severity=v.severity, rule=name))
        for name, v, pattern in entries
    ]


_BY_NAME = _compile(_NAMES)

_MESSAGES: tuple[tuple[str, Verdict, str], ...] = (
    ("memory", transient(_T.MEMORY), r"out of memory|cannot allocate memory|unable to allocate|\bOOM\b|bad_alloc|memory limit"),
    ("disk", transient(_T.FILESYSTEM, severity=ErrorSeverity.CRITICAL), r"no space left|disk (?:is )?full|disk quota"),
    ("tls", permanent(_T.NETWORK, severity=_HIGH), r"certificate[ _]verify[ _]failed|certificate (?:has )?expired|self[- ]signed"),
    (
        "rate_limit",
        transient(_T.NETWORK, "rate limit"),
        r"rate[- ]limit|too many (?:requests|connections|clients)|throttl|slow down",
    ),
    (
        "network",
        transient(_T.NETWORK),
        r"tim(?:ed|e)[ -]?out|connection (?:was |has been |is )?(?:refused|reset|aborted|closed|lost|dropped|broken|error|"
        r"failed|timed|terminated|forcibly)|broken pipe|unreachable|no route to host|name or service not known|temporary "
        r"failure|name resolution|service (?:is )?(?:temporarily )?unavailable|temporarily unavailable|bad gateway|gateway "
        r"time|server (?:has gone away|disconnected|closed)|remote end closed|unexpected eof|network (?:is|error)|could not "
        r"connect|can(?:no|')t connect|failed to connect|lost connection|not connected|peer closed|overloaded",
    ),
    (
        "system",
        transient(_T.SYSTEM),
        r"can't start new thread|cannot schedule new futures|too many open files|resource temporarily|try again|deadlock|"
        r"lock (?:wait )?timeout|(?:is|database|table|already|resource) locked|could not obtain lock|unable to acquire|"
        r"pool (?:is )?(?:exhausted|full)|shutting down|being (?:re)?started|changed size during iteration",
    ),
    ("access", permanent(_T.NETWORK, severity=_HIGH), r"permission denied|access denied|unauthorized|forbidden|"
                                                      r"invalid (?:api key|credentials|token)|authentication failed"),
    ("file", permanent(_T.FILESYSTEM), r"no such file|is a directory|not a directory|read-only file system|file exists"),
)  # fmt: skip
_BY_MESSAGE = _compile(_MESSAGES)


def by_name(name: str) -> Verdict | None:
    """The verdict on a bare class name."""
    return next((verdict for pattern, verdict in _BY_NAME if pattern.search(name)), None)


def by_message(text: str) -> Verdict | None:
    """The verdict on the text of an exception whose class says nothing; only its first 500 characters are read."""
    head = text[:500]
    return by_status_text(head) or next((verdict for pattern, verdict in _BY_MESSAGE if pattern.search(head)), None)
