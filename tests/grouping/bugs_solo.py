"""One file with everything; written when the rules stood, and never used to change them."""

from tests.grouping.model import Bug, ClosedPort, Page

_NAMES = ("ada", "Ben Ali", "cleo", "emil-3", "Fay", "zoë")
_ROW = {"price": "3", "rebate": "1", "weight": "2"}


def _rows(column: str, *texts: str) -> tuple[tuple[dict[str, str]], ...]:
    return tuple((_ROW | {column: text},) for text in texts)


def _pages(folder: str, status: int) -> tuple[tuple[Page], ...]:
    return tuple((Page(f"/{folder}/{status}/{n}?key={name[:2]}", status, name),) for n, name in enumerate("abcdef"))


_BLANKS = ("", " ", "  ", "\t", "\n", "   ")
_WORDS = ("x", "3 EUR", "1,5", "n/a", "--", "ten")

BUGS = [
    Bug(label="solo-numbers/price-empty", entry="net_price", inputs=_rows("price", *_BLANKS)),
    Bug(label="solo-numbers/rebate-empty", entry="net_price", inputs=_rows("rebate", *_BLANKS)),
    Bug(label="solo-numbers/weight-empty", entry="weight", inputs=_rows("weight", *_BLANKS)),
    Bug(label="solo-numbers/price-no-number", entry="net_price", inputs=_rows("price", *_WORDS)),
    Bug(label="solo-numbers/weight-no-number", entry="weight", inputs=_rows("weight", *_WORDS)),
    Bug(label="solo-numbers/no-weight", entry="weight", inputs=tuple(({"price": str(n)},) for n in range(6))),
    Bug(label="solo-remote/rates-404", entry="rates", inputs=_pages("rates", 404)),
    Bug(label="solo-remote/rates-500", entry="rates", inputs=_pages("rates", 500)),
    Bug(label="solo-remote/news-404", entry="news", inputs=_pages("news", 404)),
    Bug(label="solo-remote/rates-refused", entry="rates", inputs=tuple((Page(f"/r/{n}", 0),) for n in range(6))),
    Bug(label="solo-remote/send-refused", entry="send", inputs=tuple((ClosedPort(), b"x" * n) for n in range(6))),
    Bug(label="solo-processes/convert", entry="convert", inputs=tuple((f"{name}.png", 3) for name in _NAMES)),
    Bug(label="solo-processes/scan", entry="scan", inputs=tuple((f"/tmp/{name}", 3) for name in _NAMES)),
    Bug(
        label="solo-items/negative",
        entry="items",
        inputs=tuple(([(name, 1), (name, -n)],) for n, name in enumerate(_NAMES, 1)),
    ),
    Bug(
        label="solo-items/negative-shares",
        entry="shares",
        inputs=tuple(([(name, -n)],) for n, name in enumerate(_NAMES, 1)),
    ),
    Bug(label="solo-items/no-total", entry="shares", inputs=tuple(([(name, 0)],) for name in _NAMES)),
    Bug(label="solo-items/not-pairs", entry="items", inputs=tuple(([(name, 1, 2)],) for name in _NAMES)),
    Bug(label="solo-figures/spread-of-one", entry="spread", inputs=tuple(([n],) for n in range(6))),
    Bug(label="solo-figures/middle-of-none", entry="middle", inputs=(([],), ((),), ([],), ((),), ([],), ((),))),
    Bug(label="solo-figures/root", entry="root", inputs=tuple((-n,) for n in range(1, 7))),
    Bug(label="solo-figures/log", entry="log", inputs=tuple((-n,) for n in range(6))),
    Bug(
        label="solo-figures/bad-pattern",
        entry="matches",
        inputs=tuple((p, "x") for p in ("(", "[a", "a(b", "x)", "*", "a[b")),
    ),
    Bug(label="solo-figures/no-match", entry="matches", inputs=tuple(("(y)", name) for name in _NAMES)),
    Bug(
        label="solo-figures/no-zone",
        entry="zone",
        inputs=tuple((name,) for name in ("Europe/Ulm", "Mars", "UTC+1", "x/y/z", "CETT", "no")),
    ),
    Bug(
        label="solo-figures/no-setting",
        entry="setting",
        inputs=tuple((name,) for name in ("PORT", "HOST", "A_B", "x", "N1", "Z")),
    ),
    Bug(
        label="solo-people/may-not-enter",
        entry="enter",
        inputs=tuple((name, f"west{n}") for n, name in enumerate(_NAMES)),
    ),
    Bug(label="solo-people/may-not-leave", entry="leave", inputs=tuple((f"guest {name}", "north") for name in _NAMES)),
    Bug(label="solo-people/unknown-region", entry="leave", inputs=tuple((name, f"{name}land") for name in _NAMES)),
    Bug(
        label="solo-people/publish-early",
        entry="publish",
        inputs=tuple(zip(("page 7", "the story", "cover", "p-9", "Index", "map"), ("draft", "new") * 3, strict=True)),
    ),
    Bug(
        label="solo-people/archive-early",
        entry="archive",
        inputs=tuple(zip(("page 7", "the story", "cover", "p-9", "Index", "map"), ("draft", "done") * 3, strict=True)),
    ),
    Bug(label="solo-reports/no-sum", entry="report", inputs=tuple((name, [{"count": 1}]) for name in _NAMES)),
    Bug(label="solo-reports/no-count", entry="report", inputs=tuple((name, [{"sum": 1}]) for name in _NAMES)),
    Bug(
        label="solo-reports/count-zero",
        entry="report",
        inputs=tuple((name, [{"sum": 1, "count": 0}]) for name in _NAMES),
    ),
    Bug(label="solo-reports/no-summary", entry="summary", inputs=tuple((name, []) for name in _NAMES)),
    Bug(label="solo-reports/empty-chart", entry="chart", inputs=tuple((name, []) for name in _NAMES)),
    Bug(label="solo-reports/mixed-chart", entry="chart", inputs=tuple((name, [1, "x"]) for name in _NAMES)),
    Bug(label="solo-tables/person-twice", entry="person", inputs=tuple((name, 3) for name in _NAMES)),
    Bug(label="solo-tables/person-ageless", entry="person", inputs=tuple((name, None) for name in _NAMES)),
    Bug(label="solo-tables/place-twice", entry="place", inputs=tuple((name, 3) for name in _NAMES)),
    Bug(label="solo-tables/place-without-size", entry="place", inputs=tuple((name, None) for name in _NAMES)),
    Bug(label="solo-tables/nobody", entry="oldest", inputs=tuple((name,) for name in _NAMES)),
    Bug(label="solo-tables/quoted-name", entry="oldest", inputs=tuple((f"{name}'s",) for name in _NAMES)),
]
