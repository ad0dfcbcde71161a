"""A shop: partners over HTTP, one database helper, customers with names."""

from tests.grouping.model import Bug, Page

_CUSTOMERS = ("17", "ada-lovelace", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "x9", "204881", "M%C3%BCller")


def _pages(folder: str, status: int, *bodies: str) -> tuple[tuple[Page], ...]:
    return tuple(
        (Page(f"/{folder}/{status}/{name}", status, bodies[n % len(bodies)]),) for n, name in enumerate(_CUSTOMERS)
    )


def _refused(folder: str) -> tuple[tuple[Page], ...]:
    return tuple((Page(f"/{folder}/{name}", status=0),) for name in _CUSTOMERS)


_NOT_FOUND = ('{"error": "not found"}', '{"error": "not found", "trace": "ab12"}')
_BUSY = ("<html><h1>503 Service Unavailable</h1></html>", "upstream 10.1.2.3 is busy")
_PEOPLE = ("ada", "ben", "cleo", "Dora Maar", "emil_z", "O'Hara")

BUGS = [
    Bug(label="shop-http/customer-404", entry="import_customer", inputs=_pages("customers", 404, *_NOT_FOUND)),
    Bug(label="shop-http/customer-503", entry="import_customer", inputs=_pages("customers", 503, *_BUSY)),
    Bug(label="shop-http/customer-refused", entry="import_customer", inputs=_refused("customers")),
    Bug(
        label="shop-http/customer-nameless", entry="import_customer", inputs=_pages("nameless", 200, '{"id": 1}', "{}")
    ),
    Bug(label="shop-http/customer-no-json", entry="import_customer", inputs=_pages("text", 200, "hello", "  hi there")),
    Bug(label="shop-http/invoice-404", entry="import_invoice", inputs=_pages("invoices", 404, *_NOT_FOUND)),
    Bug(label="shop-http/invoice-503", entry="import_invoice", inputs=_pages("invoices", 503, *_BUSY)),
    Bug(label="shop-http/invoice-refused", entry="import_invoice", inputs=_refused("invoices")),
    Bug(label="shop-http/parcel-404", entry="track_parcel", inputs=_pages("parcels", 404, *_NOT_FOUND)),
    Bug(label="shop-http/parcel-without-status", entry="track_parcel", inputs=_pages("parcels", 200, "nothing", "<p>")),
    Bug(
        label="shop-fields/charge-customer",
        entry="charge",
        inputs=(
            ({"amount": 3},),
            ({},),
            ({"amount": 12.5, "note": "x"},),
            ({"customer": None},),
            ({"amount": 4},),
            ({"a": [1, 2]},),
        ),
    ),
    Bug(
        label="shop-fields/charge-amount",
        entry="charge",
        inputs=(
            ({"customer": 3},),
            ({"customer": "ada"},),
            ({"customer": "bob", "tip": 1},),
            ({"customer": 88},),
            ({"customer": "eve", "amount": None},),
            ({"customer": 7, "items": [1]},),
        ),
    ),
    Bug(
        label="shop-fields/refund-customer",
        entry="refund",
        inputs=(
            ({"amount": 3},),
            ({},),
            ({"amount": 12.5, "note": "x"},),
            ({"customer": None},),
            ({"amount": 4},),
            ({"a": [1, 2]},),
        ),
    ),
    Bug(
        label="shop-payments/insufficient",
        entry="settle",
        inputs=tuple(
            ({"id": n, "state": "poor"}, provider)
            for n, provider in enumerate(("stripe", "adyen", "stripe", "paypal", "stripe", "mollie"), 17)
        ),
    ),
    Bug(
        label="shop-payments/expired",
        entry="settle",
        inputs=tuple(({"id": n, "state": "old", "expiry": f"{n % 12 + 1}/20{n}"}, "stripe") for n in range(20, 26)),
    ),
    Bug(
        label="shop-payments/maintenance",
        entry="settle",
        inputs=tuple(({"id": f"acc_{n}", "state": "down"}, "stripe") for n in ("Zk3", 9, "q1", 77, "Rt5y", 12)),
    ),
    Bug(
        label="shop-payments/frozen",
        entry="settle",
        inputs=tuple(
            ({"id": n, "state": "", "frozen": True, "owner": name, "since": f"2026-0{n}-11"}, "stripe")
            for n, name in enumerate(_PEOPLE, 1)
        ),
    ),
    Bug(
        label="shop-prices/unknown-sku",
        entry="price_basket",
        inputs=((["A-1", "B-9"],), (["chair"],), (["A-2", "lamp"],), (["A-1", ""],), ([("A", 1)],), ([None],)),
    ),
    Bug(
        label="shop-orders/no-customer",
        entry="greet",
        inputs=tuple(({"id": n},) for n in range(6)),
    ),
    Bug(
        label="shop-orders/no-salutation",
        entry="greet",
        inputs=tuple(({"customer": name},) for name in _PEOPLE),
    ),
    Bug(
        label="shop-orders/no-title",
        entry="greet",
        inputs=tuple(({"customer": name, "salutation": {}},) for name in _PEOPLE),
    ),
    Bug(
        label="shop-orders/no-name",
        entry="greet",
        inputs=tuple(({"customer": {"id": n}, "salutation": {"title": "Dr"}},) for n in range(6)),
    ),
    Bug(
        label="shop-orders/name-is-none",
        entry="greet",
        inputs=tuple(({"customer": {"name": None, "id": n}, "salutation": {"title": "Dr"}},) for n in range(6)),
    ),
    Bug(label="shop-labels/no-street", entry="label", inputs=tuple(({"number": n, "city": "Ulm"},) for n in range(6))),
    Bug(
        label="shop-labels/no-city",
        entry="label",
        inputs=tuple(({"number": n, "street": "Low Lane"},) for n in ("a", 2, "c", 4, 5, 6)),
    ),
    Bug(
        label="shop-labels/parcels-are-numbers",
        entry="label",
        inputs=tuple(({"number": n, "street": "Low Lane", "city": "Ulm", "parcels": n},) for n in (1, 2.5, 3, 4, 5, 6)),
    ),
    Bug(
        label="shop-stock/unknown-product",
        entry="reserve",
        inputs=(("sofa", 1), ("wooden spoon", 2), ("mirror", 1), ("T-shirt", 4), ("rug", 1), ("shelf", 9)),
    ),
    Bug(
        label="shop-stock/too-few",
        entry="reserve",
        inputs=(("lamp", 10), ("blue chair", 4), ("table", 1), ("lamp", 7), ("table", 3), ("blue chair", 10)),
    ),
    Bug(label="shop-people/bad-role", entry="assign", inputs=tuple((name, f"{name[:3]}master") for name in _PEOPLE)),
    Bug(
        label="shop-people/assign-unknown",
        entry="assign",
        inputs=(
            ("zoe", "admin"),
            ("yan", "clerk"),
            ("Xi Li", "admin"),
            ("will", "clerk"),
            ("vic", "clerk"),
            ("una@shop.example", "admin"),
        ),
    ),
    Bug(
        label="shop-people/close-unknown",
        entry="close_account",
        inputs=(("zoe",), ("yan",), ("Xi Li",), ("will",), ("vic",), ("una@shop.example",)),
    ),
    Bug(label="shop-people/close-with-balance", entry="close_account", inputs=(("ada",),) * 6),
    Bug(
        label="shop-ledger/customer-twice",
        entry="register",
        inputs=tuple((f"{name.split()[0]}@shop.example", name) for name in _PEOPLE),
    ),
    Bug(label="shop-ledger/negative-order", entry="book", inputs=tuple((n, -n) for n in range(1, 7))),
    Bug(
        label="shop-ledger/nameless",
        entry="rename",
        inputs=tuple((f"{name.split()[0]}@shop.example", None) for name in _PEOPLE),
    ),
    Bug(label="shop-ledger/no-table", entry="monthly", inputs=tuple((f"2026-{n:02}",) for n in range(1, 7))),
    Bug(label="shop-ledger/no-column", entry="yearly", inputs=tuple((year,) for year in range(2020, 2026))),
    Bug(
        label="shop-money/line-price",
        entry="invoice_total",
        inputs=tuple(
            ([{"price": "3,50", "quantity": 1}, {"price": text, "quantity": 2}],)
            for text in ("1.234,50", "free", "12 EUR", "-", "1'000.00", "zwölf")
        ),
    ),
    Bug(
        label="shop-money/refund",
        entry="refund_total",
        inputs=(("1.234,50",), ("nothing",), ("12 EUR",), ("?",), ("1'000.00",), ("3,5,6",)),
    ),
    Bug(
        label="shop-money/percent",
        entry="discount",
        inputs=tuple(([{"percent": text, "minimum": "1"}],) for text in ("ten", "5%", "1,5", "", "0x1", "n/a")),
    ),
    Bug(
        label="shop-money/minimum",
        entry="discount",
        inputs=tuple(([{"percent": "5", "minimum": text}],) for text in ("ten", "5%", "1,5", "", "0x1", "n/a")),
    ),
    Bug(label="shop-money/no-lines", entry="discount", inputs=(([],),) * 6),
]
