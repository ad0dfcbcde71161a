"""People: a session for all SQL, classes that share method names, names without quotation marks."""

from tests.grouping.model import Bug, ClosedPort

_NAMES = ("ada", "Ben Ali", "cleo", "d'Arcy", "emil", "Fay")
_MAILS = tuple(f"{name.lower().replace(' ', '.')}@mail{n}.example" for n, name in enumerate(_NAMES))
_TOKENS = ("sess_9aBcD11", "sess_bbbbbbbb", "0f0f0f0f0f", "tok-ABCDEFGH", "qwertzuiop", "Zx81Zx81Zx")


def _dead(*keys: str) -> tuple[tuple[object, ...], ...]:
    return tuple((ClosedPort(host), key) for host, key in zip(("127.0.0.1", "localhost") * 3, keys, strict=True))


_KEYS = ("ada", "17", "x:y", "session/9", "ben", "cleo 2")

BUGS = [
    Bug(
        label="crm-sql/name-taken",
        entry="add_person",
        needs="sqlalchemy",
        inputs=tuple(zip(_MAILS, _NAMES, strict=True)),
    ),
    Bug(
        label="crm-sql/no-boss",
        entry="add_team",
        needs="sqlalchemy",
        inputs=tuple((f"team {n}", mail.replace("@", "+x@")) for n, mail in enumerate(_MAILS)),
    ),
    Bug(
        label="crm-sql/no-person",
        entry="find_person",
        needs="sqlalchemy",
        inputs=tuple(("nobody." + mail,) for mail in _MAILS),
    ),
    Bug(label="crm-sql/no-team", entry="find_team", needs="sqlalchemy", inputs=tuple((f"team {n}",) for n in range(6))),
    Bug(label="crm-sql/no-column", entry="search_people", needs="sqlalchemy", inputs=tuple((n,) for n in _NAMES)),
    Bug(label="crm-sql/no-table", entry="search_teams", needs="sqlalchemy", inputs=tuple((n,) for n in _NAMES)),
    Bug(label="crm-sql/syntax", entry="report", needs="sqlalchemy", inputs=tuple((n,) for n in _NAMES)),
    Bug(
        label="crm-sessions/short-token",
        entry="log_in",
        inputs=tuple((name, token[:5]) for name, token in zip(_NAMES, _TOKENS, strict=True)),
    ),
    Bug(label="crm-sessions/expired", entry="touch", inputs=tuple((token,) for token in _TOKENS)),
    Bug(
        label="crm-export/csv-without-columns",
        entry="export",
        inputs=tuple(("csv", [{"columns": [1]}] * n + [{"id": n}]) for n in range(6)),
    ),
    Bug(
        label="crm-export/pdf-without-columns",
        entry="export",
        inputs=tuple(("pdf", [{"columns": [1]}] * n + [{"id": n}]) for n in range(6)),
    ),
    Bug(label="crm-export/mail-not-written", entry="export", inputs=tuple(("mail", [n]) for n in range(6))),
    Bug(
        label="crm-export/csv-not-written", entry="export", inputs=tuple(("csv", [{"columns": [n]}]) for n in range(6))
    ),
    Bug(
        label="crm-export/unknown-kind",
        entry="export",
        inputs=tuple((kind, []) for kind in ("xls", "doc", "x-1", "html5", "TXT", "")),
    ),
    Bug(
        label="crm-commands/raise-percent",
        entry="command",
        inputs=tuple(("raise", {"salary": 10, "percent": -n}) for n in range(6)),
    ),
    Bug(
        label="crm-commands/promote-level", entry="command", inputs=tuple(("promote", {"level": -n}) for n in range(6))
    ),
    Bug(
        label="crm-commands/raise-no-salary",
        entry="command",
        inputs=tuple(("raise", {"percent": n, "name": "x"}) for n in range(6)),
    ),
    Bug(
        label="crm-commands/fire-reason",
        entry="command",
        inputs=tuple(("fire", {"reason": reason}) for reason in ("late", "rude", "r-7", "other reasons", "", "XX")),
    ),
    Bug(
        label="crm-commands/unknown",
        entry="command",
        inputs=tuple((name, {}) for name in ("hire", "lay off", "cmd-9", "x", "move", "RAISE")),
    ),
    Bug(
        label="crm-letters/field-missing",
        entry="letter",
        inputs=tuple(("Dear {name}, it is {day}", {"name": name}) for name in _NAMES),
    ),
    Bug(
        label="crm-letters/single-brace",
        entry="letter",
        inputs=tuple(("Dear {name}, {", {"name": name}) for name in _NAMES),
    ),
    Bug(
        label="crm-letters/invoice-number",
        entry="invoice_letter",
        inputs=(
            ({"date": 1},),
            ({},),
            ({"date": 2, "name": "x"},),
            ({"total": 3},),
            ({"a": 1, "b": 2, "c": 3},),
            ({"name": "y"},),
        ),
    ),
    Bug(
        label="crm-letters/invoice-date",
        entry="invoice_letter",
        inputs=(
            ({"number": 1},),
            ({"number": 1, "x": 1},),
            ({"number": 2, "name": "x"},),
            ({"number": "R-3"},),
            ({"number": 4, "b": 2, "c": 3},),
            ({"number": 9, "name": "y"},),
        ),
    ),
    Bug(
        label="crm-letters/reminder-name",
        entry="reminder",
        inputs=(({"total": 1},), ({},), ({"total": 2, "x": 1},), ({"sum": 3},), ({"total": "9 EUR"},), ({"n": 1},)),
    ),
    Bug(label="crm-letters/reminder-total", entry="reminder", inputs=tuple(({"name": name},) for name in _NAMES)),
    Bug(label="crm-cache/profile", entry="profile", needs="redis", inputs=_dead(*_KEYS)),
    Bug(label="crm-cache/basket", entry="basket", needs="redis", inputs=_dead(*_KEYS)),
    Bug(
        label="crm-mail/welcome",
        entry="send_welcome",
        inputs=tuple(("127.0.0.1", ClosedPort(port_only=True), name) for name in _NAMES),
    ),
    Bug(
        label="crm-mail/goodbye",
        entry="send_goodbye",
        inputs=tuple(("127.0.0.1", ClosedPort(port_only=True), name) for name in _NAMES),
    ),
    Bug(
        label="crm-mail/no-address",
        entry="parse_sender",
        inputs=(("ada",), ("ben ben",), ("cc",), ("fay.x",), ("zoe",), ("x y z",)),
    ),
    Bug(
        label="crm-calendar/taken-twice",
        entry="appointment",
        inputs=tuple(zip(_NAMES, ("Monday", "Tuesday", "Friday", "Thursday", "Monday", "Friday"), strict=True)),
    ),
    Bug(
        label="crm-calendar/appointment-at-weekend",
        entry="appointment",
        inputs=tuple(zip(_NAMES, ("Saturday", "Sunday") * 3, strict=True)),
    ),
    Bug(
        label="crm-calendar/holiday-at-weekend",
        entry="holiday",
        inputs=tuple(zip(_NAMES, ("Saturday", "Sunday") * 3, strict=True)),
    ),
    Bug(
        label="crm-plugins/no-mode",
        entry="plug",
        inputs=tuple(("builtin", {"mode": mode}) for mode in ("fast", "turbo", "x1", "eco", "a", "mode_9")),
    ),
    Bug(label="crm-plugins/no-speed", entry="plug", inputs=(("builtin", {"mode": "quick", "x": 1}),) * 6),
    Bug(label="crm-plugins/colour-without-speed", entry="plug", inputs=(("builtin", {"mode": "slow"}),) * 6),
    Bug(
        label="crm-plugins/no-module",
        entry="plug",
        inputs=tuple((name, {}) for name in ("acme_plugin", "plugin7", "zz.yy", "my_plug", "a1b2", "nope")),
    ),
    Bug(
        label="crm-accounts/bad-kind",
        entry="open_account",
        inputs=tuple(zip(_NAMES, ("silver", "free", "GOLD", "k7", "", "basic "), strict=True)),
    ),
    Bug(
        label="crm-accounts/closed",
        entry="transfer",
        inputs=tuple((name, "ada", n) for n, name in enumerate(("zoe", "Xi Li", "will", "una", "O'Hara", "tim"))),
    ),
    Bug(
        label="crm-accounts/overdrawn",
        entry="transfer",
        inputs=tuple((name, "ada", 100 + n) for n, name in enumerate(("ada", "ben", "cleo", "dora", "emil", "fay"))),
    ),
    Bug(
        label="crm-accounts/no-target",
        entry="transfer",
        inputs=tuple(("ada", name, 0) for name in ("zoe", "Xi Li", "will", "una", "O'Hara", "tim")),
    ),
]
