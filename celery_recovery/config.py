"""The settings: Celery settings in lower case with the prefix `recovery_`, read and checked once.

`Settings` is the one place where a setting is named, given its default, checked and explained; `SETTINGS` lists the
same for documentation. A setting that does not exist is refused with the nearest name, because a misspelt one would
otherwise be a default in disguise.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from celery_recovery.exceptions import ConfigurationError, as_seconds
from celery_recovery.policy import RecoveryPolicy

__all__ = ("PREFIX", "SETTINGS", "Setting", "Settings", "load")

#: How the names begin in Celery's configuration.
PREFIX = "recovery_"

T = TypeVar("T")
Check = Callable[[Any, str], Any]
_DAY = 86400.0


def _setting(default: T, check: Check, doc: str) -> T:
    """A field with its check and its explanation (meaning and unit)."""
    metadata = {"check": check, "doc": doc}
    made: T = field(default=default, metadata=metadata)
    return made


# -- checks: (value, full name) -> value to keep; raise ConfigurationError


def _text(value: Any, option: str) -> str:
    """A name fit for a queue or a key: braces and spaces have meanings of their own there."""
    if isinstance(value, str) and value and not re.search(r"[\s{}]", value):
        return value
    raise ConfigurationError.of(option, expected="a name without spaces and braces", got=value)


def _flag(value: Any, option: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigurationError.of(option, expected="True or False", got=value)


def _redis_url(value: Any, option: str) -> str | None:
    """The error shows the scheme only: a URL may hold a password."""
    if value is None:
        return None
    scheme = urlsplit(value).scheme if isinstance(value, str) else type(value).__name__
    if isinstance(value, str) and scheme in ("redis", "rediss", "unix"):
        return value
    raise ConfigurationError.of(option, expected="a URL with redis://, rediss:// or unix://, or None", got=scheme)


def _one_of(*words: str) -> Check:
    def check(value: Any, option: str) -> Any:
        if isinstance(value, str) and value in words:
            return value
        raise ConfigurationError.of(
            option, expected=f"one of {', '.join(words)}", got=value, hint=_nearest(value, words)
        )

    return check


def _positive(value: Any, option: str) -> float:
    seconds = as_seconds(value, option)
    if seconds > 0:
        return seconds
    raise ConfigurationError.of(option, expected="seconds > 0", got=value)


def _positive_or_none(value: Any, option: str) -> float | None:
    return None if value is None else _positive(value, option)


def _history_length(value: Any, option: str) -> int:
    """It travels with every retried message, at up to half a kilobyte each: hence the bound."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 100:
        return value
    raise ConfigurationError.of(option, expected="a whole number from 1 to 100", got=value)


def _policies(value: Any, option: str) -> RecoveryPolicy:
    return value if isinstance(value, RecoveryPolicy) else RecoveryPolicy(value, option=option)


def _path_or(value: Any, option: str, what: str) -> Any:
    """Something callable, or the dotted path to it, which is only imported when it is used."""
    if callable(value) or (isinstance(value, str) and re.fullmatch(r"[\w.]+(:\w[\w.]*)?", value)):
        return value
    raise ConfigurationError.of(option, expected=f"{what} or its dotted path", got=value)


def _classifier(value: Any, option: str) -> Any:
    if value is None:
        return None
    if isinstance(value, (str, type)):
        return _path_or(value, option, "a subclass of ErrorClassifier")
    raise ConfigurationError.of(option, expected="a subclass of ErrorClassifier or its dotted path", got=value)


def _rules(value: Any, option: str) -> tuple[Any, ...]:
    return tuple(_path_or(rule, f"{option}[{n}]", "a callable") for n, rule in enumerate(_listed(value, option)))


def _patterns(value: Any, option: str) -> tuple[str, ...]:
    return tuple(_pattern(pattern, f"{option}[{n}]") for n, pattern in enumerate(_listed(value, option)))


def _pattern(value: Any, option: str) -> str:
    try:
        re.compile(value)
    except (re.error, TypeError):
        raise ConfigurationError.of(option, expected="a regular expression", got=value) from None
    return str(value)


def _listed(value: Any, option: str) -> Sequence[Any]:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return value
    raise ConfigurationError.of(option, expected="a list", got=value)


def _nearest(name: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with the prefix left off. Durations are seconds; a timedelta is accepted."""

    redis_url: str | None = _setting(
        None, _redis_url, "URL of the Redis that holds dead letters and statistics. None: the broker's or the result"
        " backend's, whichever is Redis; if neither is, letters stay in their queue.",
    )  # fmt: skip
    key_prefix: str = _setting("celery-recovery", _text, "What every Redis key begins with; two apps need two.")
    dead_letter_exchange: str = _setting("celery.dead_letters", _text, "Name of the exchange dead letters are sent to.")
    dead_letter_queue: str = _setting("celery.dead_letters", _text, "Name of the durable queue bound to it.")
    dead_letter_queue_type: Literal["classic", "quorum"] = _setting(
        "classic", _one_of("classic", "quorum"), "RabbitMQ's type of that queue, `classic` or `quorum`."
    )
    on_dead_letter: Literal["auto", "fail", "hold"] = _setting(
        "auto", _one_of("auto", "fail", "hold"), "What the caller of a dead-lettered task sees. `fail`: the original"
        " exception, as without this package. `hold`: state QUARANTINED, chain and chord stay open until the letter is"
        " replayed or discarded. `auto`: hold in a chord, fail otherwise.",
    )  # fmt: skip
    policies: RecoveryPolicy = _setting(
        None, _policies, "What becomes of a failure: policies by error type, exception class or dotted class name; or"
        " one policy for all; or an instance of `RecoveryPolicy`. None: the defaults.",
    )  # type: ignore[assignment]  # fmt: skip
    rules: tuple[Callable[..., Any] | str, ...] = _setting(
        (), _rules, "Classification rules of your own, asked before the built-in ones: callables or dotted paths."
    )
    classifier: type | str | None = _setting(
        None, _classifier, "A subclass of `ErrorClassifier`, or its dotted path. None: the built-in one."
    )
    publish_timeout: float = _setting(
        30.0, _positive, "Seconds to go on trying to publish a retry or a dead letter while the broker is away."
    )
    intake: bool = _setting(True, _flag, "Whether workers move letters from the queue into the store.")
    stats: bool = _setting(True, _flag, "Whether attempts, recoveries and exhaustions are counted.")
    stats_interval: float = _setting(5.0, _positive, "Seconds between two writes of the counters to Redis.")
    stats_retention: float = _setting(7 * _DAY, _positive, "Seconds that counters are kept.")
    letter_max_age: float | None = _setting(
        7 * _DAY, _positive_or_none, "Seconds that a *finished* letter, recovered or discarded, is kept. None: for ever."
        " Open letters are never trimmed.",
    )  # fmt: skip
    history_length: int = _setting(10, _history_length, "Attempts that travel with a message, 1 to 100.")
    redact: tuple[str, ...] = _setting(
        (), _patterns, "Regular expressions, case ignored: arguments with such names are hidden wherever they are"
        " shown, beside the built-in ones (password, token, secret …).",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for item in fields(self):
            value = item.metadata["check"](getattr(self, item.name), PREFIX + item.name)
            object.__setattr__(self, item.name, value)

    @classmethod
    def from_mapping(cls, conf: Mapping[str, Any]) -> Settings:
        """Read the entries of a Celery configuration that begin with `recovery_`; all others are left alone.

        Raises ConfigurationError for a value that makes no sense and for a setting that does not exist.
        """
        given = {name.removeprefix(PREFIX): value for name, value in conf.items() if name.startswith(PREFIX)}
        known = [item.name for item in fields(cls)]
        for name in given:
            if name not in known:
                hint = _nearest(PREFIX + name, [PREFIX + name for name in known])
                raise ConfigurationError.of(
                    PREFIX + name, expected="a setting that exists", got=PREFIX + name, hint=hint
                )
        return cls(**given)

    def load_rules(self) -> tuple[Callable[..., Any], ...]:
        """The rules, imported; raises ConfigurationError for a path that leads nowhere or to nothing callable."""
        return tuple(load(rule, f"{PREFIX}rules[{n}]") for n, rule in enumerate(self.rules))

    def load_classifier(self) -> type | None:
        """The classifier class, imported; None: the built-in one. Raises ConfigurationError."""
        if self.classifier is None:
            return None
        found = load(self.classifier, PREFIX + "classifier")
        if isinstance(found, type):
            return found
        raise ConfigurationError.of(PREFIX + "classifier", expected="a class", got=found)


class Setting(NamedTuple):
    """One line of the reference."""

    #: With prefix.
    name: str
    default: Any
    doc: str


#: Every setting, in the order of the reference.
SETTINGS: tuple[Setting, ...] = tuple(
    Setting(PREFIX + item.name, item.default, item.metadata["doc"]) for item in fields(Settings)
)


def load(target: Any, option: str) -> Any:
    """Import `package.module:name` or `package.module.name`; what is callable already is returned as it is.

    Raises ConfigurationError, from the import's own error.
    """
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":") if ":" in target else target.rpartition(".")
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigurationError.of(option, expected="a path that can be imported", got=target, hint=f"{exc}.") from exc
    if callable(found):
        return found
    raise ConfigurationError.of(option, expected="the path of something callable", got=target)
