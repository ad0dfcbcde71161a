"""Values that are secrets whatever stands beside them: keys, tokens and numbers of a form that nothing else has.

Each pattern says with `hints` what a text must hold for it to be tried, which most texts do not, and begins where a run
of its characters begins, so that no text makes it look at one character again and again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ("VALUES", "Value", "is_card_number")

#: Where a word begins; an escaped line end, as in a `repr`, is no part of it.
_BEGIN = r"(?:(?<![\w.-])|(?<=\\[nrt]))"


class Value(NamedTuple):
    """One kind of secret."""

    name: str
    #: One of these is in every text that has it; empty: there is no such text.
    hints: tuple[str, ...]
    #: Its group `secret` is hidden; without such a group, all of it.
    pattern: re.Pattern[str]
    #: A last look at what the pattern has found.
    is_one: Callable[[str], bool] = lambda _: True


def is_card_number(text: str) -> bool:
    """Whether the digits are those of a payment card: a network's prefix and length, and the right check digit."""
    digits = [int(character) for character in text if character.isdigit()]
    if _CARD.fullmatch("".join(map(str, digits))) is None:
        return False
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


#: Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay, by the ranges of ISO/IEC 7812 that they
#: publish. Maestro is left out: its numbers may have any length from 12 to 19, which ids of orders have as well.
_CARD = re.compile(
    r"4\d{15}|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14}(?:\d{3})?"
)


def _is_opaque(text: str) -> bool:
    """No word of a sentence ("Bearer authentication failed"): it has a digit, or a capital within."""
    return any(character.isdigit() for character in text) or not (text[1:].islower() or text.isupper())


def _value(name: str, hints: str, pattern: str, is_one: Callable[[str], bool] = lambda _: True) -> Value:
    return Value(name, tuple(hints.split("|")) if hints else (), re.compile(pattern), is_one)


VALUES = (
    _value(
        "private key", "PRIVATE KEY",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:(?P<secret>.*?))"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    # JSON Web Token (RFC 7519): its header is a JSON object, so that its base64 begins with eyJ
    _value("JWT", "eyJ", _BEGIN + r"eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*){0,3}"),
    _value(
        "credentials of a header", "earer |EARER |asic |ASIC ",
        r"(?i:(?<![\w-])(?:bearer|basic)[ \t]{1,4})(?P<secret>[\w.~+/=:-]{6,})", _is_opaque,
    ),
    # the user's password, up to the last @ of the authority (RFC 3986, 3.2.1), or a user that is a token
    _value("URL with a password", "://", r"(?<=://)[^\s/:@'\"<>]{0,256}:(?P<secret>[^\s/'\"<>]{1,1024})(?=@)"),
    # with what no password in a URL may have (/ < '), if it is no port that stands before that
    _value(
        "URL with a password", "://",
        r"(?<=://)[^\s/:@'\"<>\[]{0,256}:(?P<secret>(?!\d{0,5}[/'<])(?:[^\s/@'\"<>]|/(?!/)|['<](?=\w)){1,1024})(?=@)",
    ),
    # the same where the text was cut before the @: what is no port is no port
    _value(
        "URL with a password", "://",
        r"(?<=://)[^\s/:@'\"<>]{0,256}:(?P<secret>(?!\d+…?(?:\Z|['\"\\]))[^\s/@'\"<>\\]{1,1024})(?=\Z|['\"\\])",
    ),
    _value("URL with a token", "://", r"(?<=://)(?P<secret>[^\s/:@'\"<>]{20,1024})(?=@)", _is_opaque),
    _value(
        "signed URL", "ig",
        r"(?i:[?&;](?:sig|signature|x-amz-[a-z-]{1,40}|x-goog-signature)=)(?P<secret>[^\s&'\"<>]+)",
    ),
    _value("curl's user", "-u ", r"(?<!\S)(?:-u|--user)[ \t]{1,4}['\"]?[^\s:'\"]{1,256}:(?P<secret>[^\s'\"]+)"),
    # AWS access key and session ids: a prefix that says what it is, and 16 characters of base 32
    _value("AWS key", "AKIA|ASIA|ABIA|ACCA", _BEGIN + r"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}(?!\w)"),
    # GitHub; GitLab, Slack, Vault; Stripe; OpenAI, Anthropic; Google, SendGrid; npm, PyPI, DigitalOcean
    _value("token of a service", "gh|github_pat_", _BEGIN + r"(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{22,})"),
    _value("token of a service", "glpat-|hvs.", _BEGIN + r"(?:glpat-[\w-]{20,}|hvs\.[\w-]{20,})"),
    _value("token of a service", "xox", _BEGIN + r"xox[a-z]-[\w-]{10,}"),
    _value("token of a service", "_live_|_test_", _BEGIN + r"(?:sk|rk|pk|whsec)_(?:live|test)_[A-Za-z0-9]{10,}"),
    _value("token of a service", "sk-|whsec_", _BEGIN + r"(?:sk-[\w-]{20,}|whsec_[\w+/=]{16,})"),
    _value("token of a service", "AIza|SG.", _BEGIN + r"(?:AIza[\w-]{35}|SG\.[\w-]{16,}\.[\w-]{16,})"),
    _value("token of a service", "npm_|pypi-|dop_v1_", _BEGIN + r"(?:npm_\w{36}|pypi-[\w-]{50,}|dop_v1_\w{64})"),
    # Telegram
    _value(
        "token of a service", "bot|:AA",
        r"(?:(?<=bot)\d{8,10}:[\w-]{35}|(?<![\w-])\d{8,10}:AA[\w-]{33})(?![\w-])",
    ),
    # Slack, Discord: the last part of a path that may stand without its host
    _value(
        "webhook", "/services/T|/workflows/T|/triggers/T",
        r"/(?:services|workflows|triggers)/T[A-Z0-9]{5,20}/[A-Z0-9]{5,20}/(?P<secret>[\w/]{16,})",
    ),
    _value("webhook", "/webhooks/", r"/api/(?:v\d{1,2}/)?webhooks/\d{15,20}/(?P<secret>[\w-]{20,})"),
    _value(
        "payment card", "",
        # its first digits come first: that is what makes a search fast
        r"[2-6]\d{3}(?:(?<![\w.-]\d{4})|(?<=\\[nrt]\d{4}))"
        r"(?:([ -]?)\d{4}\1\d{4}\1\d{4}(?:\d{3})?|[ -]?\d{6}[ -]?\d{4,5})(?![\w-]|\.\d)",
        is_card_number,
    ),
)  # fmt: skip
