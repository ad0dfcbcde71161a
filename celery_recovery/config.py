"""The settings: Celery settings in lower case with the prefix `recovery_`, read and checked once.

`Settings` is the one place where a setting is named, given its default, checked and explained; `SETTINGS` lists the
same for the documentation. A setting that does not exist is refused with the nearest name, because a misspelt one would
otherwise be a default in disguise.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, NamedTuple

from celery_recovery.circuit.policy import CircuitPolicy, circuit_name
from celery_recovery.exceptions import ConfigurationError, as_seconds
from celery_recovery.monitoring.alerts.sink import Pace, Sink
from celery_recovery.policy import RecoveryPolicy

__all__ = ("PREFIX", "SETTINGS", "Setting", "Settings", "load")

#: How the names begin in Celery's configuration.
PREFIX = "recovery_"

#: From a value and the setting's full name to the value to keep; raises ConfigurationError.
Check = Callable[[Any, str], Any]
_DAY = 86400.0
_WEEK = 7 * _DAY
#: Begins like ours where Django's settings are Celery's, and is read by `celery_recovery.django` alone.
_OF_DJANGO = "recovery_celery_app"


def _name(value: Any, option: str) -> str:
    """A name fit for a queue and for a key: spaces and braces have meanings of their own there."""
    if isinstance(value, str) and value and not re.search(r"[\s{}]", value):
        return value
    raise ConfigurationError.of(option, expected="a name without spaces and braces", got=value)


def _flag(value: Any, option: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigurationError.of(option, expected="True or False", got=value)


def _redis_url(value: Any, option: str) -> str | None:
    """The error shows no more than the scheme: a URL may hold a password."""
    if value is None:
        return None
    scheme = value.partition(":")[0] if isinstance(value, str) else type(value).__name__
    if isinstance(value, str) and scheme in ("redis", "rediss", "unix"):
        return value
    raise ConfigurationError.of(option, expected="a URL with redis://, rediss:// or unix://, or None", got=scheme)


def _one_of(*words: str) -> Check:
    def check(value: Any, option: str) -> Any:
        if isinstance(value, str) and value in words:
            return value
        raise ConfigurationError.of(option, expected=f"one of {', '.join(words)}", got=value, known=words)

    return check


def _positive(value: Any, option: str) -> float:
    seconds = as_seconds(value, option)
    if seconds > 0:
        return seconds
    raise ConfigurationError.of(option, expected="seconds > 0", got=value)


def _positive_or_none(value: Any, option: str) -> float | None:
    return None if value is None else _positive(value, option)


def _lease(value: Any, option: str) -> float | None:
    """A worker tells of itself every third of a lease; below 3 s a busy machine would look like a dead one."""
    seconds = _positive_or_none(value, option)
    if seconds is None or seconds >= 3:
        return seconds
    raise ConfigurationError.of(option, expected="at least 3 seconds, or None", got=value)


def _positive_count(value: Any, option: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ConfigurationError.of(option, expected="a whole number >= 1", got=value)


def _count_or_none(value: Any, option: str) -> int | None:
    return None if value is None else _positive_count(value, option)


def _history_length(value: Any, option: str) -> int:
    """Bounded, because it travels with every retried message, at up to half a kilobyte an attempt."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100:
        return value
    raise ConfigurationError.of(option, expected="a whole number from 1 to 100", got=value)


def _policies(value: Any, option: str) -> RecoveryPolicy:
    return value if isinstance(value, RecoveryPolicy) else RecoveryPolicy(value, option=option)


def _classifier(value: Any, option: str) -> type | str | None:
    if value is None or isinstance(value, type) or _is_path(value):
        return value  # type: ignore[no-any-return]
    raise ConfigurationError.of(option, expected="a subclass of ErrorClassifier or its dotted path", got=value)


def _rule(value: Any, option: str) -> Callable[..., Any] | str:
    if callable(value) or _is_path(value):
        return value  # type: ignore[no-any-return]
    raise ConfigurationError.of(option, expected="a callable or its dotted path", got=value)


def _pattern(value: Any, option: str) -> str:
    try:
        re.compile(value)
    except (re.error, TypeError):
        raise ConfigurationError.of(option, expected="a regular expression", got=value) from None
    return str(value)


def _each(check: Check) -> Check:
    def check_all(value: Any, option: str) -> tuple[Any, ...]:
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            return tuple(check(entry, f"{option}[{n}]") for n, entry in enumerate(value))
        raise ConfigurationError.of(option, expected="a list", got=value)

    return check_all


def _circuits(value: Any, option: str) -> dict[str, Mapping[str, Any]]:
    """By name or pattern; a `CircuitPolicy` says all there is to say, a mapping changes what would hold without it."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError.of(option, expected="a mapping from circuits to their settings", got=value)
    for name, settings in value.items():
        circuit_name(name, f"the name of a circuit in {option}")
        CircuitPolicy.of(settings, f"{option}[{name!r}]")
    return dict(value)


def _sink(value: Any, option: str) -> Sink:
    return value if isinstance(value, Sink) else Sink.of(value, option)


def _sinks(value: Any, option: str) -> tuple[Sink, ...]:
    """Two that look alike from outside would share their alerts."""
    sinks: tuple[Sink, ...] = _each(_sink)(value, option)
    known: dict[str, Sink] = {}
    for sink in sinks:
        if known.setdefault(sink.id, sink) is not sink:
            raise ConfigurationError.of(option, expected="sinks that differ, as named functions do", got=sink.name)
    return sinks


def _pace_or_none(value: Any, option: str) -> str | None:
    if value is not None:
        Pace.of(value, option)
    return value  # type: ignore[no-any-return]


def _secret_or_none(value: Any, option: str) -> str | None:
    """Long enough to be one; the error does not show it."""
    if value is None or (isinstance(value, str) and len(value) >= 16):
        return value
    raise ConfigurationError.of(option, expected="a text of 16 characters or more, or None", got=type(value).__name__)


def _text(value: Any, option: str) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise ConfigurationError.of(option, expected="a text of at most 200 characters", got=value)
    return value


def _is_path(value: Any) -> bool:
    """It reads like `package.module:name` or `package.module.name`. It is imported only when it is used."""
    return isinstance(value, str) and re.fullmatch(r"\w+(\.\w+)*[.:]\w+(\.\w+)*", value) is not None


def _about(check: Check, doc: str) -> dict[str, Any]:
    """A setting's check and its explanation (meaning and unit), as the metadata of its field."""
    return {"check": check, "doc": doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with the prefix left off. Durations are seconds; a timedelta is accepted."""

    redis_url: str | None = field(
        default=None,
        metadata=_about(
            _redis_url,
            "URL of the Redis that holds dead letters and statistics. None: the broker's or the result backend's, "
            "whichever is Redis; if neither is, letters stay in their queue.",
        ),
    )
    key_prefix: str = field(
        default="celery-recovery",
        metadata=_about(_name, "What every Redis key begins with. Two apps on one Redis need two."),
    )
    dead_letter_exchange: str = field(
        default="celery.dead_letters",
        metadata=_about(_name, "Name of the exchange that dead letters are sent to."),
    )
    dead_letter_queue: str = field(
        default="celery.dead_letters",
        metadata=_about(_name, "Name of the durable queue bound to that exchange."),
    )
    dead_letter_queue_type: Literal["classic", "quorum"] = field(
        default="classic",
        metadata=_about(_one_of("classic", "quorum"), "RabbitMQ's type of that queue: `classic` or `quorum`."),
    )
    on_dead_letter: Literal["auto", "fail", "hold"] = field(
        default="auto",
        metadata=_about(
            _one_of("auto", "fail", "hold"),
            "What the caller of a dead-lettered task sees. `fail`: the original exception, as without this package. "
            "`hold`: the state QUARANTINED, with chain and chord left open until the letter is replayed or discarded. "
            "`auto`: hold in a chord, fail otherwise.",
        ),
    )
    policies: RecoveryPolicy = field(
        default_factory=RecoveryPolicy,
        metadata=_about(
            _policies,
            "What becomes of a failure: policies by error type, exception class or dotted class name; or one policy "
            "for all; or an instance of `RecoveryPolicy`. None: the defaults.",
        ),
    )
    rules: tuple[Callable[..., Any] | str, ...] = field(
        default=(),
        metadata=_about(
            _each(_rule), "Classification rules of your own, asked first: a list of callables or dotted paths."
        ),
    )
    classifier: type | str | None = field(
        default=None,
        metadata=_about(_classifier, "A subclass of `ErrorClassifier`, or its dotted path. None: the built-in one."),
    )
    acks_late: bool = field(
        default=True,
        metadata=_about(
            _flag,
            "Whether recoverable tasks are acknowledged when they have ended, not when they start: without it a task "
            "is lost with its worker. A task's own `acks_late` counts more. False: Celery's `task_acks_late` decides.",
        ),
    )
    max_crashes: int = field(
        default=3,
        metadata=_about(
            _positive_count,
            "Crashes of its worker after which a redelivered task is dead-lettered as poison. The start of a first "
            "delivery is not noted, so its body begins once more than that.",
        ),
    )
    attempt_ttl: float = field(
        default=_DAY,
        metadata=_about(
            _positive,
            "Seconds that is remembered what became of a failed or redelivered attempt, to recognise its twins.",
        ),
    )
    park_after: float | None = field(
        default=30.0,
        metadata=_about(
            _positive_or_none,
            "Seconds of delay beyond which a waiting task is parked in Redis, and not held by a worker. None: never.",
        ),
    )
    lease: float | None = field(
        default=15.0,
        metadata=_about(
            _lease,
            "Redis broker: seconds of silence after which a worker's unacknowledged messages go back to their queues; "
            "four times as long where tasks share the worker's process (threads, solo, gevent, eventlet). From 3. "
            "None: as in Celery, after `visibility_timeout`.",
        ),
    )
    result_timeout: float = field(
        default=30.0,
        metadata=_about(
            _positive,
            "Seconds to go on trying to store a result while the result backend and the recovery store are away, "
            "within the task's hard time limit. With a store it is owed after some 2 s.",
        ),
    )
    circuits: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=_about(
            _circuits,
            "Settings of circuits, by name or pattern (`api-*`): a `CircuitPolicy` or a mapping of its fields. Counts "
            "more than what a task says. None: there are none.",
        ),
    )
    checkpoint_ttl: float = field(
        default=30 * _DAY,
        metadata=_about(
            _positive,
            "Seconds that the checkpoint of a task that has not succeeded is kept after it was saved last. Longer than "
            "a letter waits for its replay.",
        ),
    )
    checkpoint_size: int = field(
        default=262_144,
        metadata=_about(_positive_count, "Most bytes of a checkpoint, as JSON."),
    )
    publish_timeout: float = field(
        default=30.0,
        metadata=_about(_positive, "Seconds to go on trying to publish a retry or a letter while the broker is away."),
    )
    intake: bool = field(
        default=True,
        metadata=_about(_flag, "Whether workers move letters from their queue into the store."),
    )
    code_version: str = field(
        default="",
        metadata=_about(
            _text, "Version of the code, such as a commit; letters carry it, and groups are resolved in one."
        ),
    )
    run_operations: bool = field(
        default=True,
        metadata=_about(_flag, "Whether workers go on with replays, discards and the like whose tool has died."),
    )
    flower_operators: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            _each(_text),
            "Users of Flower who may act on its Recovery pages, `*` and `?` match; all others only look. Empty: "
            "everybody who has logged in.",
        ),
    )
    stats: bool = field(
        default=True,
        metadata=_about(_flag, "Whether attempts, recoveries and exhaustions are counted."),
    )
    stats_interval: float = field(
        default=5.0,
        metadata=_about(_positive, "Seconds between two writes of the counters to Redis."),
    )
    stats_retention: float = field(
        default=_WEEK,
        metadata=_about(_positive, "Seconds that counters are kept."),
    )
    letter_max_age: float | None = field(
        default=_WEEK,
        metadata=_about(
            _positive_or_none,
            "Seconds that a *finished* letter, recovered or discarded, is kept. None: for ever. Open letters are never "
            "trimmed.",
        ),
    )
    letter_max_count: int | None = field(
        default=None,
        metadata=_about(
            _count_or_none,
            "Most finished letters that are kept; the ones that were finished first go. None: any number. Open letters "
            "are never trimmed.",
        ),
    )
    history_length: int = field(
        default=10,
        metadata=_about(_history_length, "Failed attempts that travel with a message, 1 to 100."),
    )
    tracing: bool = field(
        default=False,
        metadata=_about(
            _flag,
            "Whether OpenTelemetry hears of failing attempts, and letters and replays carry its context; needs the "
            "extra `otel`.",
        ),
    )
    alerts: tuple[Sink, ...] = field(
        default=(),
        metadata=_about(
            _sinks,
            "Where alerts are sent: a list of callables or dotted paths, URLs of webhooks (`https://…`) and of chat, "
            "mail and the like (as Apprise has them), `env:NAME` for a variable that holds one, or mappings with `to`, "
            "`on`, `task`, `at_most`. Empty: nowhere.",
        ),
    )
    alert_secret: str | None = field(
        default=None,
        metadata=_about(_secret_or_none, "What webhooks are signed with (HMAC-SHA-256), 16 characters or more."),
    )
    alert_window: float = field(
        default=10.0,
        metadata=_about(
            _positive, "Seconds from the first happening on in which those of its kind are gathered into one alert."
        ),
    )
    alert_flood: str | None = field(
        default="100/10m",
        metadata=_about(
            _pace_or_none, "Dead letters in how much time are a flood, as `100/10m`; to the minute. None: none is."
        ),
    )
    redact: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            _each(_pattern),
            "Regular expressions, searched without case: what stands beside a name that one matches is hidden wherever "
            "it is shown, logged or exported, beside the built-in ones (password, token, secret and the like).",
        ),
    )
    redact_values: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            _each(_pattern),
            "Regular expressions: what one matches, or its group `secret` where it has one, is hidden in every text, "
            "beside the built-in ones (private keys, JSON Web Tokens, card numbers and the like).",
        ),
    )
    role: Literal["operate", "read"] = field(
        default="operate",
        metadata=_about(
            _one_of("operate", "read"),
            "What tools of this app may do: `operate`, or `read`: look, and change nothing. Workers are not asked. The "
            "environment variable `CELERY_RECOVERY_ROLE=read` makes it `read` as well.",
        ),
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value = item.metadata["check"](getattr(self, item.name), PREFIX + item.name)
            object.__setattr__(self, item.name, value)

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> Settings:
        """Read the entries of a Celery configuration that begin with `recovery_`; all others are left alone.

        Raises ConfigurationError for a value that makes no sense and for a setting that does not exist.
        """
        known = [setting.name for setting in SETTINGS]
        given = {name: value for name, value in conf.items() if name.startswith(PREFIX) and name != _OF_DJANGO}
        for name in given:
            if name not in known:
                raise ConfigurationError.of(name, expected="a setting that exists", got=name, known=known)
        return cls(**{name.removeprefix(PREFIX): value for name, value in given.items()})

    def load_rules(self) -> tuple[Callable[..., Any], ...]:
        """The rules, imported; raises ConfigurationError for a path that leads nowhere or to nothing callable."""
        return tuple(load(rule, f"{PREFIX}rules[{n}]") for n, rule in enumerate(self.rules))

    def load_classifier(self) -> type | None:
        """The classifier class, imported; None: the built-in one. Raises ConfigurationError."""
        if self.classifier is None:
            return None
        found = load(self.classifier, f"{PREFIX}classifier")
        if isinstance(found, type):
            return found
        raise ConfigurationError.of(f"{PREFIX}classifier", expected="the path of a class", got=self.classifier)


class Setting(NamedTuple):
    """One line of the reference."""

    #: With the prefix.
    name: str
    #: As it may be written in a configuration; durations in seconds.
    default: Any
    #: Meaning and unit.
    doc: str


#: Every setting, in the order of the reference.
SETTINGS: tuple[Setting, ...] = tuple(
    Setting(PREFIX + item.name, None if item.default is MISSING else item.default, item.metadata["doc"])
    for item in fields(Settings)
)


def load(target: Any, option: str) -> Any:
    """Import `package.module:name` or `package.module.name`; anything but a text is returned as it is.

    Raises ConfigurationError, naming `option` and the import's own error.
    """
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":") if ":" in target else target.rpartition(".")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as exc:  # a module of the user's may fail in any way while it is imported
        hint = f"{type(exc).__name__}: {exc}."
        raise ConfigurationError.of(option, expected="a path that can be imported", got=target, hint=hint) from exc
    if callable(found):
        return found
    raise ConfigurationError.of(option, expected="the path of something callable", got=target)
