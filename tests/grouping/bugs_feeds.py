"""Feeds: files, formats, models, and messages that quote what was read."""

import datetime as dt
import gzip
import io
import json
import zipfile

from tests.grouping.model import Bug, Document, Folder


def _zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    return buffer.getvalue()


def _documents(suffix: str, *contents: str | bytes | None) -> tuple[tuple[Document], ...]:
    names = ("monday", "north", "supplier-4", "2026-02-03", "tmpab12", "nightly export")
    return tuple((Document(f"{name}{suffix}", contents[n % len(contents)]),) for n, name in enumerate(names))


_CUT = ('{"items": [{"ean": 4', '{"items": [', '{"items": [{"ean": 4}, {"ean"', '{"items', '{"a": 1, "items": ', "{")
_LINE = {"sku": "A-1", "quantity": 1}
_DAYS = [
    dt.date(2026, 5, 1),
    dt.date(2025, 12, 31),
    dt.date(2024, 2, 29),
    dt.date(2026, 8, 9),
    dt.date(2023, 3, 3),
    dt.date(2026, 10, 21),
]

BUGS = [
    Bug(label="feeds-json/catalogue-cut", entry="load_catalogue", inputs=_documents(".json", *_CUT[1::4])),
    Bug(label="feeds-json/prices-cut", entry="load_prices", inputs=_documents(".json", *_CUT[1::4])),
    Bug(
        label="feeds-json/catalogue-without-items", entry="load_catalogue", inputs=_documents(".json", "{}", '{"a": 1}')
    ),
    Bug(
        label="feeds-json/catalogue-without-ean",
        entry="load_catalogue",
        inputs=_documents(".json", '{"items": [{}]}', '{"items": [{"ean": 1}, {"id": 5}]}'),
    ),
    Bug(
        label="feeds-json/prices-without-ean", entry="load_prices", inputs=_documents(".json", "[{}]", '[{"price": 1}]')
    ),
    Bug(
        label="feeds-json/prices-not-nested",
        entry="load_prices",
        inputs=_documents(".json", '[{"ean": 1, "price": 3}]', '[{"ean": 1, "price": 12}]'),
    ),
    Bug(
        label="feeds-json/prices-without-gross",
        entry="load_prices",
        inputs=_documents(".json", '[{"ean": 1, "price": {}}]', '[{"ean": 1, "price": {"net": 12}}]'),
    ),
    Bug(label="feeds-ini/no-section", entry="load_settings", inputs=_documents(".ini", "[other]\na = 1", "", "[x]")),
    Bug(
        label="feeds-ini/no-option", entry="load_settings", inputs=_documents(".ini", "[delivery]\na = 1", "[delivery]")
    ),
    Bug(
        label="feeds-ini/not-ini",
        entry="load_settings",
        inputs=_documents(".ini", "hello", "\n\nhour: 3", "# c\nx = 1"),
    ),
    Bug(
        label="feeds-xml/not-xml",
        entry="load_menu",
        inputs=_documents(".xml", "<a><b></a>", "<a>\n\n<b></c>", "<a></b>"),
    ),
    Bug(label="feeds-xml/no-dish", entry="load_menu", inputs=_documents(".xml", "<menu/>", "<menu><drink/></menu>")),
    Bug(label="feeds-xml/no-name", entry="load_menu", inputs=_documents(".xml", "<menu><dish/></menu>")),
    Bug(
        label="feeds-csv/quantity",
        entry="stock_levels",
        inputs=_documents(".csv", "ean,quantity,reserved\n1,many,0", "ean,quantity,reserved\n1,4,1\n2,1.5,0"),
    ),
    Bug(
        label="feeds-csv/reserved",
        entry="stock_levels",
        inputs=_documents(".csv", "ean,quantity,reserved\n1,3,all", "ean,quantity,reserved\n1,4,1\n2,5,0.5"),
    ),
    Bug(label="feeds-csv/no-quantity", entry="stock_levels", inputs=_documents(".csv", "ean,reserved\n1,0", "ean\n1")),
    Bug(
        label="feeds-csv/no-ean",
        entry="stock_levels",
        inputs=_documents(".csv", "quantity,reserved\n1,0", "EAN,quantity,reserved\n1,5,1"),
    ),
    Bug(
        label="feeds-csv/price",
        entry="stock_values",
        inputs=_documents(".csv", "price,quantity\nfree,0", 'price,quantity\n1,5\n"1,5",2', "price,quantity\n€5,1"),
    ),
    Bug(label="feeds-csv/no-price", entry="stock_values", inputs=_documents(".csv", "quantity\n1", "id,quantity\n1,2")),
    Bug(label="feeds-text/short-line", entry="columns", inputs=_documents(".txt", "a;b", "a;b;c\na", "\n")),
    Bug(
        label="feeds-text/not-utf8", entry="read_names", inputs=_documents(".txt", b"M\xfcller", b"abc\xff", b"\x80 x")
    ),
    Bug(label="feeds-files/no-manifest", entry="manifest", inputs=_documents(".lst", None)),
    Bug(label="feeds-files/no-image", entry="thumbnail", inputs=_documents(".png", None)),
    Bug(label="feeds-files/manifest-is-folder", entry="manifest", inputs=tuple((Folder(f"in-{n}"),) for n in range(6))),
    Bug(
        label="feeds-files/archive-exists",
        entry="archive",
        inputs=tuple((Folder(name), ".") for name in ("a", "b c", "d-1", "e", "f2", "g")),
    ),
    Bug(label="feeds-archives/not-zip", entry="unpack", inputs=_documents(".zip", b"hello", b"<html>", b"")),
    Bug(
        label="feeds-archives/member-of-no-zip",
        entry="member",
        inputs=tuple((*one, "a.txt") for one in _documents(".zip", b"hello", b"<html>", b"")),
    ),
    Bug(
        label="feeds-archives/no-member",
        entry="member",
        inputs=tuple(
            (*one, f"part-{n}.csv" if n % 2 else "total.csv")
            for n, one in enumerate(_documents(".zip", _zip("a"), _zip("b")))
        ),
    ),
    Bug(
        label="feeds-archives/not-gzip", entry="inflate", inputs=_documents(".gz", b"hello", b"<html>", b"PK\x03\x04 '")
    ),
    Bug(
        label="feeds-archives/gzip-cut",
        entry="inflate",
        inputs=_documents(".gz", gzip.compress(b"x" * 99)[:-9], gzip.compress(b"yz" * 999)[:-12]),
    ),
    Bug(
        label="feeds-models/no-customer",
        entry="validate_order",
        needs="pydantic",
        inputs=tuple(({"number": n, "lines": [_LINE] * (n % 3)},) for n in range(6)),
    ),
    Bug(
        label="feeds-models/number-is-text",
        entry="validate_order",
        needs="pydantic",
        inputs=tuple(
            ({"number": text, "customer": "x", "lines": []},)
            for text in ("one", "12a", "", "n/a", "a long text about a number", "{'a': 1}")
        ),
    ),
    Bug(
        label="feeds-models/quantity-missing",
        entry="validate_order",
        needs="pydantic",
        inputs=tuple(({"number": n, "customer": "x", "lines": [_LINE] * n + [{"sku": f"B-{n}"}]},) for n in range(6)),
    ),
    Bug(
        label="feeds-models/coupon",
        entry="validate_order",
        needs="pydantic",
        inputs=tuple(
            ({"number": 1, "customer": "x", "lines": [], "coupon": text},)
            for text in ("SPRING", "autumn", "X-1", "free lunch", "BLACK_FRIDAY", "c-12")
        ),
    ),
    Bug(
        label="feeds-models/no-street",
        entry="validate_address",
        needs="pydantic",
        inputs=tuple(({"postcode": f"{n}0000"} | ({"city": "Ulm"} if n % 2 else {}),) for n in range(6)),
    ),
    Bug(
        label="feeds-models/no-postcode",
        entry="validate_address",
        needs="pydantic",
        inputs=tuple(({"street": f"Lane {n}"} | ({"city": "Ulm"} if n % 2 else {}),) for n in range(6)),
    ),
    Bug(
        label="feeds-dates/opened",
        entry="opened_on",
        inputs=(("1.5.2026",), ("yesterday",), ("2026/05/01",), ("2026-13-01",), ("05/01/26",), ("",)),
    ),
    Bug(
        label="feeds-dates/closed",
        entry="closed_on",
        inputs=(("1.5.2026",), ("yesterday",), ("2026/05/01",), ("2026-13-01",), ("05/01/26",), ("",)),
    ),
    Bug(
        label="feeds-dates/delivered",
        entry="delivered_at",
        inputs=(("1.5.2026 x",), ("yesterday x",), ("2026/05/01 9",), ("late",), ("05/01/26 x",), ("soon !",)),
    ),
    Bug(
        label="feeds-records/no-id",
        entry="check_record",
        inputs=(
            ({},),
            ({"name": "x"},),
            ({"name": "y", "tags": ["a", "b"]},),
            ({"n": 1, "m": None},),
            ({"deep": {"er": [1, 2, {"x": True}]}},),
            ({"when": dt.date(2026, 1, 1)},),
        ),
    ),
    Bug(
        label="feeds-records/no-tags",
        entry="check_record",
        inputs=(
            ({"id": 1},),
            ({"id": "x", "tags": []},),
            ({"id": 3, "name": "y"},),
            ({"id": None},),
            ({"id": 1.5, "deep": {"er": [1]}},),
            ({"id": (1, 2)},),
        ),
    ),
    Bug(
        label="feeds-records/unknown-ids",
        entry="check_ids",
        inputs=(([1],), ([1, 2, 3],), (["a", "b"],), (["k1", 9, "x y"],), (["k1", None],), ([["n"], 2.5],)),
    ),
    Bug(
        label="feeds-records/doubled-ids",
        entry="check_ids",
        inputs=(
            (["k1", "k1"],),
            (["ka", "kb", "ka"],),
            (["k", "k", "k3", "k3"],),
            (["kiwi", "kiwi"],),
            (["k 1", "k 1", "k2"],),
            (["k'", "k'"],),
        ),
    ),
    Bug(
        label="feeds-records/bad-answer",
        entry="check_answer",
        inputs=tuple(
            (json.dumps(one),)
            for one in (
                {"status": "bad"},
                {"status": None},
                {"status": "late", "rows": [1, 2]},
                {"rows": []},
                {"error": {"code": 7, "message": "try later"}},
                {"status": True, "x": {"y": None}},
            )
        ),
    ),
    Bug(
        label="feeds-records/no-rows",
        entry="check_answer",
        inputs=tuple(
            (json.dumps({"status": "ok"} | one),)
            for one in (
                {},
                {"rows": []},
                {"rows": None, "page": 3},
                {"cursor": "abc", "more": False},
                {"n": 1.5},
                {"meta": {"a": [1, 2]}},
            )
        ),
    ),
    Bug(
        label="feeds-records/not-a-package",
        entry="check_blob",
        inputs=((b"\x00\x01\x02",), (b"<html>",), (b"it's text",), (b"",), (b"\xff" * 40,), (b'say "hi"',)),
    ),
    Bug(
        label="feeds-records/odd-package",
        entry="check_blob",
        inputs=((b"PK\x00",), (b"PK1",), (b"PK it's",), (b"PK\n\n\n",), (b"PK" + b"\xff" * 41,), (b'PK"',)),
    ),
    Bug(
        label="feeds-records/negative-entity",
        entry="check_entity",
        inputs=(("ada", -1), ("ben b", -2), ("", -3), ("x'y", -44), ("Zoë", -5), ("q(1)", -6)),
    ),
    Bug(
        label="feeds-records/unknown-entity",
        entry="check_entity",
        inputs=(("ada", 1), ("ben b", 2), ("", 3), ("x'y", 44), ("Zoë", 5), ("q(1)", 6)),
    ),
    Bug(
        label="feeds-records/window-turned",
        entry="check_window",
        inputs=tuple((day, day - dt.timedelta(days=n + 1)) for n, day in enumerate(_DAYS)),
    ),
    Bug(
        label="feeds-records/window-early",
        entry="check_window",
        inputs=tuple((day.replace(year=1970 + n, day=1), day) for n, day in enumerate(_DAYS)),
    ),
    Bug(
        label="feeds-records/rate-missing",
        entry="check_rates",
        inputs=(
            ({"EUR": None},),
            ({"EUR": 1, "USD": None},),
            ({"a": 0.5, "b": None},),
            ({1: None, 2: 3},),
            ({"x": None, "y": None, "z": 1},),
            ({"GBP": None, "CHF": 1.25e-3},),
        ),
    ),
    Bug(
        label="feeds-records/rate-too-high",
        entry="check_rates",
        inputs=(
            ({"EUR": 2},),
            ({"EUR": 1, "USD": 1.5},),
            ({"a": 1e300},),
            ({1: float("inf")},),
            ({2: 7, 3: 0},),
            ({"GBP": 1.0000001},),
        ),
    ),
]
