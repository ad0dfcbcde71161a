"""What strangers put into tasks: secrets that must not be shown, text that must not act, data that must not hang.

Each text of `HOSTILE` holds the word `pwned`, so that `active_content` can tell a page in which it would act from one
that only shows it; `{{ 7919*104729 }}` would be shown as 829348951 by a template that takes it for its own.
"""

from __future__ import annotations

import json
import os
import pickle
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

__all__ = (
    "ADVERSARIAL", "CARD", "HARMLESS", "HOSTILE", "HUGE", "JWT", "SECRET", "SECRETS", "Case", "active_content",
    "controls", "deep", "pickle_bombs",
)  # fmt: skip

#: The secret in all cases whose form does not matter.
SECRET = "hunter2"
#: A number that all card networks give out for tests; a token that is signed with `secret`; an AWS key of their docs.
CARD = "4111111111111111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
_AWS = "AKIA" + "IOSFODNN7EXAMPLE"
_PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAhunter2\nabc=\n-----END RSA PRIVATE KEY-----"


#: One field of pydantic's message, to be named.
_INVALID = (
    "{}\n  String should have at least 12 characters [type=string_too_short, input_value='hunter2', input_type=str]\n"
    "    For further information visit https://errors.pydantic.dev/2/v/string_too_short"
)


class Case(NamedTuple):
    """A text, and what of it must not be shown."""

    text: str
    secret: str = SECRET


#: Texts that hold a secret: of messages, tracebacks, arguments as Celery writes them down, command lines, documents.
SECRETS = [
    # beside a name
    Case("password=hunter2"), Case("password: hunter2"), Case("PASSWORD = hunter2 and more"),
    Case("Pwd=hunter2;Database=x"), Case("'password': 'hunter2'"), Case('{"password": "hunter2"}'),
    Case('{"password":\n    "hunter2"}'), Case(json.dumps({"body": json.dumps({"password": "hunter2"})})),
    Case(json.dumps(json.dumps(json.dumps({"password": "hunter2"})))), Case("{'password': b'hunter2'}"),
    Case("{'passwords': ['a', 'hunter2']}"), Case("{'password': {'new': 'hunter2'}}"), Case("password='hunter2"),
    Case("{'password': ['hunter2"), Case(r"password='it\'s hunter2'"), Case("password='''hunter2'''"),
    Case("User(name='ada', password=SecretStr('hunter2'), id=7)"), Case("Card(number=7, cvv='hunter2')"),
    Case("<Login user=ada password=<Secret hunter2>>"), Case("token: str = 'hunter2'"),
    Case("os.environ['DB_PASSWORD'] = 'hunter2'"), Case("data[password]=hunter2&x=1"),
    Case("https://x.example/?user=a&access_token=hunter2&b=1"),
    Case("Server=db;User Id=sa;Password=a,hunter2;Encrypt=True"), Case("AccountKey=x+hunter2==;EndpointSuffix=core"),
    Case("password=p)w)hunter2 was wrong"), Case(r"failed\npassword: hunter2\nuser: ada"), Case(r"a\npin: hunter2"),
    Case("API key: hunter2"), Case("card number: hunter2"), Case("Session ID = hunter2"),
    Case("mysql --password hunter2 -h db"), Case("['mysql', '--password', 'hunter2']"), Case("--api-key=hunter2"),
    Case("curl -u ada:hunter2 https://x"), Case("CREATE USER a IDENTIFIED BY 'hunter2'"),
    Case("wrong password 'hunter2' for a"), Case("<password>hunter2</password>"),
    Case('<wsse:Password Type="x">hunter2</wsse:Password>'), Case("secret => hunter2"), Case("export DB_PASS=hunter2"),
    Case("userPin: hunter2"), Case("user_ssn=hunter2"), Case("DBPASS=hunter2"), Case("password:            hunter2"),
    Case("password:\xa0hunter2"), Case("host=x password=p&hunter2 dbname=y"),
    Case("host=x password=p'hunter2 dbname=y"),
    Case("?password=p&hunter2&user=bob"), Case("password: |\n  one\n\n  hunter2\nuser: x"),
    Case("a: 1\npassword:\n  hunter2"),
    Case("a:\n  password: >-\n    hunter2\n  user: x"), Case("a: 1\npasswords:\n  - hunter2"),
    Case("<password><![CDATA[a<b]hunter2]]></password>"),
    # apart from its name
    Case("DETAIL:  Key (api_key)=(hunter2) already exists."),
    Case("Key (lower(api_key), id)=(hunter2, 7) already exists."),
    Case(_INVALID.format("password")), Case(_INVALID.format("user.password")), Case(_INVALID.format("tokens.0")),
    Case(_INVALID.format("password").partition(", input_type")[0]),
    Case(_INVALID.format("age").replace("'hunter2'", "{{'user': 'ada', 'passw...rd': 'hunter2'}}")),
    Case("[{'type': 'missing', 'loc': ('body', 'password'), 'msg': 'x', 'input': 'hunter2'}]"),
    Case('{"name": "password", "value": "hunter2"}'), Case("{'Name': 'DB_PASSWORD', 'Type': 'x', 'Value': 'hunter2'}"),
    Case('{"ParameterKey": "DBPassword", "ParameterValue": "hunter2"}'),
    Case("Variable(key='api_key', value='hunter2')"),
    Case("- name: DB_PASSWORD\n  value: hunter2\n"), Case('<add key="Password" value="hunter2"/>'),
    # headers
    Case("Authorization: Bearer hunter2"), Case("Authorization: hunter2"), Case("authorization: Basic hunter2=="),
    Case('Authorization: Digest username="a", response="hunter2"'), Case("Cookie: a=b; session=hunter2; c=d"),
    Case("Set-Cookie: sid=1; hunter2"), Case("[('Authorization', 'Bearer hunter2'), ('Accept', '*/*')]"),
    Case("[('X-Api-Key', 'hunter2')]"), Case('[["x-auth-token", "hunter2"]]'),
    Case("{'headers': {b'authorization': b'Bearer hunter2'}}"), Case("Proxy-Authorization: Negotiate hunter2"),
    Case("401 for Bearer abc123hunter2"), Case("Authorization: Splunk hunter2"), Case("> authorization: Key hunter2"),
    Case("Authorization: SharedKey account:hunter2"), Case('Authorization: Token token="hunter2", x="y"'),
    Case("Authorization: OAuth realm='x', oauth_signature='hunter2'"),
    Case("Proxy-Authorization: Bot required hunter2"),
    Case("{'Authorization': ['hunter2', 'y']}"), Case("Request(authorization: SecretStr('hunter2'), x=1)"),
    Case("{'Set-Cookie': ['a=b', 'hunter2']}"),
    # by their form alone
    Case("redis://:hunter2@host:6379/0"),
    Case("cannot connect to redis://ada:hunter2…"), Case("redis://ada:hunter2"),
    Case("postgres://ada:pa/hunter2@host"), Case("redis://:p'hunter2@host/0"), Case("redis://:p<hunter2@host/0"),
    Case("postgresql://ada:hunter2@db/shop"), Case("amqp://a:p@hunter2@host//"),
    Case("git clone https://x0123456789abcdefhunter2@github.com/a/b"),
    Case("https://s3/x?a=1&X-Amz-Signature=hunter2&b=2"), Case("https://blob/x?sv=1&sig=hunter2%3D"),
    Case(f"the token {JWT} is expired", JWT[:40]), Case(f"x={JWT}", JWT[-40:]), Case(f"key {_AWS} is not known", _AWS),
    Case(_PEM, "MIIEowIBAAKCAQEA"), Case(_PEM[:60], "MIIEowIBAAKCAQEA"),
    Case(_PEM.replace("\n", "\\n"), "MIIEowIBAAKCAQEA"), Case("ghp_" + "a1B2" * 9, "a1B2a1B2"),
    Case("xoxb-12345-hunter2-abcdef"), Case("sk_live_" + "hunter2abc" * 2), Case("sk-proj-" + "hunter2abc" * 3),
    Case("AIza" + "hunter2" * 5), Case("glpat-" + "hunter2-" * 3), Case("whsec_" + "hunter2abcdefghij"),
    Case("https://api.telegram.org/bot123456789:" + "hunter2" * 5 + "/sendMessage"),
    Case("123456789:AA" + "hunter2aaaa" * 3),
    Case("https://hooks.slack.com/services/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"),
    Case("Max retries exceeded with url: /services/T0AAAAAAA/B0AAAAAAA/hunter2hunter2hunter2abc (Caused by x)"),
    Case("https://discord.com/api/webhooks/123456789012345678/" + "hunter2-_" * 7),
    Case("npm_" + "hunter2a0" * 4), Case(f"card {CARD} was declined", CARD),
    Case("card 4111 1111 1111 1111 was declined", "1111 1111"), Case("Card(number='5555-5555-5555-4444')", "5555-5555"),
    Case("amex 378282246310005", "378282246310005"), Case("amex 3782 822463 10005", "822463"),
]  # fmt: skip

#: Texts in which nothing is secret: they must stay as they are, or nobody can work with them.
HARMLESS = [
    "order 7 of ada", "order-20260131-000123", "1234567890123456", "4111111111111112", "1760000000.25",
    "1760000000123456789", "4532015112830367", "0.4111111111111111", "3e96227e-cfd1-4661-a626-52adb2f6bc44",
    "4111111111111111a", "id_4111111111111111", "[Errno 104] Connection reset by peer",
    "HTTPConnectionPool(host='pay.example', port=443): Read timed out.",
    "jwt.exceptions.InvalidTokenError: Signature has expired", "AuthorizationError: not allowed",
    "CredentialsExpired: ask again", "KeyError: 'password'", "missing field 'password'", "the password was wrong",
    "Bearer authentication failed", "Basic realm", "max_tokens=4096 total_tokens: 17", "the secretary of ada: out",
    "tokenizer: gpt", "if token == expected:", "https://shop.example/orders/7?page=2#top", "redis://host:6379/0",
    "redis://host:6379", "'redis://host:6379'", "at http://127.0.0.1:80…", "mailto:ada@shop.example",
    "http://localhost:8080/a@b", "a=1, b=2",
    "{'order': 7, 'lines': [{'sku': 'x', 'price': 9.99}]}", "SKU-AKIA-7", "spinner: on", "bypass: yes", "compass=north",
    'File "/srv/app/auth/token.py", line 12, in refresh_token', "<b>bold</b>", "SELECT * FROM orders WHERE id = 7",
    "caliban: 7", "2026-01-31 12:00:05,123 INFO",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "orders.charge[3e96227e-cfd1-4661-a626-52adb2f6bc44]", "C:\\Users\\ada: no such file", "ratio 3:4", "x -> y",
    "a::b", "Authorization: required", "Authorization: missing, see the log", "the key (id)=(7)",
    "Key (order_id, sku)=(7, x) already exists.", "1 validation error for Login\n" + _INVALID.format("user.name"),
    _INVALID.format("password").partition("[")[0], "name: ada\nvalue: 7",
    '[{"name": "api_key", "valueFrom": "vault"}, {"name": "user", "value": "ada"}]', '<add key="Colour" value="red"/>',
    "metric name=token_refresh value=3", "- name: DB_PASSWORD\n  valueFrom: x\n- name: USER\n  value: ada\n",
    "    if token:\n        return 7", "password:\nuser: ada", "with auth:\n    go()", "a&b", "x='it's'",
    "http://localhost:8080/a'b@c", "http://x.example/a:b/c@d", "/api/webhooks/7/retry", "/services/T1/B1/x",
    "robot12:30", "order\n  Bad [type=x, input_value={'sku': 'x'}, input_type=dict]",
    "Key (a)=(...) input_value={'a': 7}",
    "compass=7", "bypass=7",
]  # fmt: skip

#: Texts that act where they are not made harmless; see the module's docstring.
HOSTILE = {
    "script": "<script>pwned()</script>",
    "attribute": "\"'><img src=x onerror=pwned()>",
    "svg": "<svg/onload=pwned()><style>*{background:url(//pwned)}</style>",
    "text area": "</textarea></pre></title></style></script><script>pwned()</script>",
    "comment": "--><!--<iframe srcdoc='<script>pwned()</script>'>",
    "link": "javascript:pwned()//",
    "template": "{{ 7919*104729 }}{% raw pwned %}{# pwned #}${7919*104729}#{7919*104729}<%= 7919*104729 %>pwned",
    "entities": "&lt;script&gt;pwned()&lt;/script&gt;&#60;img src=x onerror=pwned()&#62;",
    "colours": "\x1b[31mpwned\x1b[0m\x1b[2J\x1b[1;1H",
    "title": "\x1b]0;pwned\x07",
    "hyperlink": "\x1b]8;;http://pwned.example\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cHduZWQ=\x07pwned",
    "c1": "\x9b31mpwned\x9d0;pwned\x9c\x90pwned\x9c",
    "bidi": "pwned\u202egpj.exe\u2066\u200f",
    "zero width": "pw\u200bned\ufeff\u00ad pwned",
    "lines": "pwned\n2026-01-31 ERROR forged\r\nX-Forged: pwned\x0b\x0c\u2028\u2029\x85",
    "overwrite": "pwned\rOK          \b\b\b",
    "nul": "pwned\x00\x01\x7f",
    "surrogate": "pwned\ud800\udfff",
    "combining": "pwned" + "\u0301" * 500,
    "right to left": "שלום pwned مرحبا",
    "format": "%s%n%(pwned)s{pwned}{0.__class__}",
    "rich": "[red]pwned[/red][link=http://pwned]x[/link]:boom:",
    "formula": "=cmd|' /C pwned'!A0",
    "labels": 'pwned"} 1\n# HELP pwned\npwned{x="',
    "path": "../../../etc/passwd\x00pwned",
    "redis": "pwned:{x}}:state*?[",
}

#: A text as long as a message can be.
HUGE = "x" * 10_000_000

#: Texts on which a careless regular expression takes hours, each some 200,000 characters.
ADVERSARIAL = {
    "one word": "a" * 200_000,
    "names": "token" * 40_000,
    "dotted": "a." * 100_000,
    "pairs": "password=" * 20_000,
    "open strings": "password='" * 20_000,
    "backslashes": "password=" + "\\" * 200_000,
    "names and backslashes": "a\\\\\\" * 50_000,
    "escaped quotes": "password='" + "\\'" * 100_000,
    "open brackets": "password=(" * 20_000,
    "deep brackets": "password=" + "[" * 200_000,
    "blanks": ("password" + " " * 50) * 3_500,
    "schemes": "a://" * 50_000,
    "authorities": "://a:" * 40_000,
    "tokens": "eyJ" * 66_000,
    "token parts": "eyJaaaaa." * 22_000,
    "key blocks": "-----BEGIN PRIVATE KEY-----" * 7_400,
    "digits": "4" * 200_000,
    "digit groups": "4111 " * 40_000,
    "digit runs": "4111111111111112 " * 11_000,
    "elements": "<a " * 66_000,
    "open elements": "<password>" * 20_000,
    "commas": "password=" + "a," * 100_000,
    "comma names": "password=" + ",aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 5_000,
    "options": "--a " * 50_000,
    "options and open brackets": "--password [x " * 14_000,
    "lists and open brackets": "('password', b'x', [" * 10_000,
    "bearer": "Bearer " * 28_000,
    "words": "api key " * 25_000,
    "lists": "('password', " * 15_000,
    "authorizations": 'Authorization: =\\"' * 12_000,
    "authorization and backslashes": "Authorization: " + "=\\\\\\" * 50_000,
    "columns": "(" * 100_000 + "(token)=(" * 10_000,
    "columns in columns": "(x(a)" * 40_000,
    "columns side by side": "(x" + "(a)" * 66_000,
    "open columns": "(token, " * 10_000 + ")=(" * 30_000,
    "inputs": "password\n input_value=" * 9_000,
    "inputs that are cut": "a\n input_value={" * 12_000,
    "inputs with ends": "a\n input_value={, input_type=" * 6_000,
    "names of values": "'name': 'password' value" * 9_000,
    "names in lines": "name:token\nvalue" * 12_000,
    "names and a long way": ("'name': 'password'" + " " * 290) * 650,
    "keys and backslashes": "key" + "\\" * 200_000,
    "places": "'loc': (a" * 22_000,
    "blocks": "password:\n" * 20_000,
    "blocks in blocks": "password:\n  token: |\n   " * 8_000,
    "empty lines": "password:" + "\n" * 100_000 + "x" + "\npassword:\n\n\n" * 20_000,
    "escaped lines": "token:" + "\\n " * 70_000,
    "ampersands": "password=" + "&" * 200_000,
    "ampersands and names": "password=" + "&aaaaaaaaaaaaaaaaaaaaaaaaaaa" * 7_000,
    "quotes within": "password=" + "a'" * 100_000,
    "slashes": "x://a:b" + "/b" * 100_000,
    "slashed authorities": "://a:b/c" * 25_000,
    "open CDATA": "<token><![CDATA[" * 12_000,
    "nested CDATA": "<token>" + "<![CDATA[<a>" * 16_000,
    "bots": "bot123456789:" * 15_000,
    "webhooks": "/services/T0AAAAAAA/B0AAAAAAA/" * 6_600,
}  # fmt: skip


def deep(levels: int = 10_000) -> bytes:
    """A body of Celery's whose argument is nested so deep that reading it ends in a `RecursionError`."""
    return b'[["pwned", ' + b"[" * levels + b"]" * levels + b'], {}, {"callbacks": null, "errbacks": null}]'


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def pickle_bombs(path: Path) -> Iterator[bytes]:
    """Bodies of a task that make this file when they are unpickled, in every protocol; and one of words alone."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.dumps(([_Touch(path)], {}, {}), protocol)
    yield b"cos\nsystem\n(S'touch " + str(path).encode() + b"'\ntR."


def controls(text: str, allowed: str = "\n") -> set[str]:
    """Characters of the text that could act on a terminal, or show it as something else than it is."""
    return {one for one in text if one not in allowed and unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


#: Schemes of addresses that are run when they are followed.
_RUN = ("javascript", "data", "vbscript")


class _Elements(HTMLParser):
    """What in a page would act, and comes from `HOSTILE`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.acting: list[str] = []
        self._in: str = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag if tag in ("script", "style") else ""
        for name, value in attrs:
            told = (value or "").strip().lower()
            is_loaded = name in ("src", "srcdoc", "data", "style", "background") or name.startswith("on")
            is_run = name in ("href", "action", "formaction") and told.partition(":")[0] in _RUN
            if "pwned" in name or "pwned" in tag or (is_loaded and "pwned" in told) or is_run:
                self.acting.append(f"<{tag} {name}={value!r}>")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in and "pwned" in data:
            self.acting.append(f"<{self._in}>{data[:200]}")

    def handle_comment(self, data: str) -> None:
        if "pwned" in data:
            self.acting.append(f"<!--{data[:200]}-->")


def active_content(page: str) -> list[str]:
    """What of `HOSTILE` would act in this page: scripts, handlers, loads, links to scripts, templates; nothing: []."""
    elements = _Elements()
    elements.feed(page)
    elements.close()
    return elements.acting + ["829348951: a template was run"] * ("829348951" in page)
