"""Control flow: recursion, coroutines, generators, pools, groups, handlers that fail themselves."""

from tests.grouping.model import Bug

_UPPER = (3, 11)  # ExceptionGroup, asyncio.timeout


def _deep(leaf: object, depth: int) -> object:
    return {"a": _deep(leaf, depth - 1), "b": 1} if depth else leaf


def _nested(leaf: object, depth: int) -> object:
    return [1, _nested(leaf, depth - 1)] if depth else leaf


def _document(**values: object) -> dict[str, object]:
    return {"title": "x", "attempts": 0, **values}


_MOODS = ("timeout", "refused", "value", "refusal", "timeout", "refused")

BUGS = [
    Bug(
        label="flow-trees/leaf-no-number",
        entry="total",
        inputs=tuple((_nested(leaf, depth),) for depth, leaf in enumerate(("x", "y2", "", "z z", "1.5", "five"), 2)),
    ),
    Bug(label="flow-trees/leaf-is-none", entry="total", inputs=tuple((_nested(None, depth),) for depth in range(2, 8))),
    Bug(
        label="flow-trees/leaf-is-no-int",
        entry="deepest",
        inputs=tuple((_deep(leaf, depth),) for depth, leaf in enumerate(("x", [1], 2.5, "long text", "y", "z9"), 2)),
    ),
    Bug(
        label="flow-trees/endless", entry="loop", inputs=tuple((name,) for name in ("a", "bb", "c-3", "d", "e e", "f"))
    ),
    Bug(
        label="flow-formulas/ends",
        entry="evaluate",
        inputs=(("1 +",), ("1 + 2 /",), ("( 1 + 2 +",), ("( ( 1 +",), ("( 4 / ( 3 +",), ("7 /",)),
    ),
    Bug(
        label="flow-formulas/no-number",
        entry="evaluate",
        inputs=(("x",), ("1 + y",), ("( 1 + 2 + ?",), ("( ( z",), ("4 / ( 3 + two",), ("+ 7",)),
    ),
    Bug(
        label="flow-formulas/not-closed",
        entry="evaluate",
        inputs=(("( 1 x",), ("1 + ( 2 y",), ("( 1 + 2 3",), ("( ( 1 + 2 ) (",), ("4 / ( 3 3",), ("( 7 ?",)),
    ),
    Bug(
        label="flow-formulas/by-zero",
        entry="evaluate",
        inputs=(("1 / 0",), ("1 + 2 / 0",), ("( 1 / 0 )",), ("( ( 1 + 2 / 0 ) )",), ("4 / ( 0 + 0 )",), ("7 / 0",)),
    ),
    Bug(
        label="flow-aio/empty-page-links",
        entry="crawl",
        inputs=((["a->b", "!c"],), (["!x"],), (["a->b", "b->c", "!start"],), (["!9"],), (["!a b"],), (["a->b", "!é"],)),
    ),
    Bug(
        label="flow-aio/no-arrow",
        entry="crawl",
        inputs=((["a->b", "c"],), (["x"],), (["a->b", "start"],), (["9"],), (["a b"],), (["a->b", "é"],)),
    ),
    Bug(
        label="flow-aio/empty-page-titles",
        entry="fan_out",
        inputs=((["a", "!c"],), (["!x"],), (["a", "b", "!start", "d"],), (["!9"],), (["!a b"],), (["a->b", "!é"],)),
    ),
    Bug(label="flow-aio/poll-too-slow", entry="poll", python=_UPPER, inputs=tuple((["a"] * n, 0.01) for n in range(6))),
    Bug(
        label="flow-aio/stream-no-number",
        entry="stream",
        inputs=((["1", "x"],), (["y"],), (["1", "2", "3.5"],), (["zero"],), ([""],), (["1", "two"],)),
    ),
    Bug(
        label="flow-lazy/no-colon",
        entry="pipeline",
        inputs=((["a:1", "b"],), (["x"],), (["a:1", "b:2", ""],), (["no"],), (["9"],), (["a:1", "c;4"],)),
    ),
    Bug(
        label="flow-lazy/no-number",
        entry="pipeline",
        inputs=(
            (["a:1", "b:x"],),
            (["x:y"],),
            (["a:1", "b:2", "c:"],),
            (["no:1.5"],),
            (["9:nine"],),
            (["a:1", "c:#"],),
        ),
    ),
    Bug(
        label="flow-lazy/zero",
        entry="pipeline",
        inputs=((["a:1", "b:0"],), (["x:0"],), (["a:1", "b:2", "c: 0"],), (["no:00"],), (["9:0"],), (["a:1", "c:-0"],)),
    ),
    Bug(
        label="flow-lazy/not-stripped",
        entry="pipeline",
        inputs=(([1],), (["a:1", 2],), ([3],), (["b:1", 4],), ([5],), (["a:1", "b:2", 6],)),
    ),
    Bug(
        label="flow-lazy/no-values",
        entry="averages",
        inputs=(([[]],), ([[1], []],), ([[1, 2], [3], []],), ([[], []],), ([[9], []],), ([[7, 7], []],)),
    ),
    Bug(
        label="flow-lazy/text-in-values",
        entry="averages",
        inputs=(([["a"]],), ([[1], ["b"]],), ([[1, 2], [3], ["c", 4]],), ([["d"], []],), ([[9, "e"]],), ([["f", 7]],)),
    ),
    Bug(label="flow-lazy/stop", entry="first", inputs=(([],), ([0],), ([1],), ([1, 2],), ([None],), ([[], [1]],))),
    Bug(
        label="flow-ranking/no-score",
        entry="best",
        inputs=tuple(([{"score": 1}] * n + [{"name": "x"}],) for n in range(6)),
    ),
    Bug(
        label="flow-ranking/no-team",
        entry="teams",
        inputs=tuple(([{"team": 1}] * n + [{"name": "x"}],) for n in range(6)),
    ),
    Bug(
        label="flow-ranking/no-nick",
        entry="nicknames",
        inputs=tuple(([{"nick": "a"}] * n + [{"name": "x"}],) for n in range(6)),
    ),
    Bug(
        label="flow-ranking/nick-is-none",
        entry="nicknames",
        inputs=tuple(([{"nick": "a"}] * n + [{"nick": None}],) for n in range(6)),
    ),
    Bug(label="flow-pools/negative-square", entry="squares", inputs=tuple(([1, -n],) for n in range(1, 7))),
    Bug(label="flow-pools/negative-root", entry="roots", inputs=tuple(([1, -n],) for n in range(1, 7))),
    Bug(
        label="flow-pools/no-number",
        entry="parse_all",
        inputs=((["1", "x"],), (["y"],), (["1", "2", "3.5"],), (["zero"],), ([""],), (["1", "two"],)),
    ),
    Bug(
        label="flow-handlers/no-errors-list",
        entry="publish",
        inputs=tuple((_document(id=n), mood) for n, mood in enumerate(_MOODS)),
    ),
    Bug(
        label="flow-handlers/no-attempts",
        entry="publish",
        inputs=tuple(({"id": n}, mood) for n, mood in enumerate(_MOODS)),
    ),
    Bug(
        label="flow-handlers/refused",
        entry="publish",
        inputs=tuple((_document(errors=[], id=n), "refused") for n in range(6)),
    ),
    Bug(
        label="flow-handlers/timeout",
        entry="publish",
        inputs=tuple((_document(errors=[], id=n), "timeout") for n in range(6)),
    ),
    Bug(
        label="flow-handlers/no-lock",
        entry="withdraw",
        inputs=tuple((_document(id=n), mood) for n, mood in enumerate(_MOODS)),
    ),
    Bug(
        label="flow-handlers/lock-is-none",
        entry="withdraw",
        inputs=tuple((_document(lock=None, id=n), mood) for n, mood in enumerate(_MOODS)),
    ),
    Bug(
        label="flow-handlers/no-pages",
        entry="replaced",
        inputs=tuple(({"title": title},) for title in ("x", "A tale", "9", "report-7", "Ünder", "a, b")),
    ),
    Bug(
        label="flow-bundles/broken",
        entry="bundle",
        python=_UPPER,
        inputs=((["x1"],), (["x1", "x2"],), (["a", "xy"],), (["xa", "b", "xc", "xd"],), (["x"],), (["a", "b", "x 9"],)),
    ),
    Bug(
        label="flow-bundles/missing",
        entry="bundle",
        python=_UPPER,
        inputs=((["m1"],), (["m1", "m2"],), (["a", "my"],), (["ma", "b", "mc", "md"],), (["m"],), (["a", "b", "m 9"],)),
    ),
    Bug(
        label="flow-bundles/broken-mixed",
        entry="mixed_bundle",
        python=_UPPER,
        inputs=((["x1"],), (["x1", "x2"],), (["a", "xy"],), (["xa", "b", "xc", "xd"],), (["x"],), (["a", "b", "x 9"],)),
    ),
    Bug(
        label="flow-retrying/ask-busy",
        entry="ask",
        inputs=(("how?",), ("who are you?",), ("9?",), ("?",), ("why not?",), ("ok?",)),
    ),
    Bug(
        label="flow-retrying/ask-cannot-say",
        entry="ask",
        inputs=(("how",), ("who are you",), ("9",), ("x",), ("why not",), ("ok",)),
    ),
    Bug(
        label="flow-retrying/tell-cannot-say",
        entry="tell",
        inputs=(("how",), ("who are you",), ("9",), ("x",), ("why not",), ("ok",)),
    ),
    Bug(
        label="flow-retrying/patiently-busy",
        entry="ask_patiently",
        inputs=(("how?",), ("who are you?",), ("9?",), ("?",), ("why not?",), ("ok?",)),
    ),
    Bug(label="flow-registry/paid-no-amount", entry="handle", inputs=tuple(("paid", {"id": n}) for n in range(6))),
    Bug(label="flow-registry/sent-no-amount", entry="handle", inputs=tuple(("sent", {"id": n}) for n in range(6))),
    Bug(
        label="flow-registry/unknown-event",
        entry="handle",
        inputs=tuple((event, {}) for event in ("lost", "found", "ev-7", "a.b", "", "PAID")),
    ),
    Bug(
        label="flow-registry/cannot-show",
        entry="handle",
        inputs=(
            ("shown", "x"),
            ("shown", 1.5),
            ("shown", None),
            ("shown", {"a": 1}),
            ("shown", b"x"),
            ("shown", (1, 2)),
        ),
    ),
    Bug(label="flow-registry/show-zero", entry="handle", inputs=(("shown", 0),) * 6),
    Bug(
        label="flow-registry/show-short-list",
        entry="handle",
        inputs=(("shown", []), ("shown", [1]), ("shown", [1, 2]), ("shown", [3]), ("shown", ["a"]), ("shown", [None])),
    ),
    Bug(
        label="flow-registry/generated-class",
        entry="generated",
        inputs=(("Row_17", 1), ("Row_3f2a", 2), ("Model", 3), ("T9", 4), ("Row_18", 5), ("Person", 6)),
    ),
    Bug(label="flow-registry/rule-by-zero", entry="rule", inputs=tuple(("a / b", {"a": n, "b": 0}) for n in range(6))),
    Bug(label="flow-registry/rule-unknown-name", entry="rule", inputs=tuple(("a + c", {"a": n}) for n in range(6))),
    Bug(label="flow-plain/by-zero", entry="ratio", inputs=tuple((n, 0) for n in (1, 2, 3.5, 4, 5, 6))),
    Bug(
        label="flow-plain/ratio-of-text",
        entry="ratio",
        inputs=(("1", 2), ("x", 3), ("", 1), ("7", 7), ("a", 2), ("b", 9)),
    ),
    Bug(
        label="flow-plain/too-many",
        entry="unpacked",
        inputs=(([1, 2, 3],), ("abc",), ([1] * 9,), ((1, 2, 3, 4),), (["a", "b", "c"],), (range(5),)),
    ),
    Bug(label="flow-plain/too-few", entry="unpacked", inputs=(([1],), ("a",), ([],), ((4,),), (["b"],), (range(1),))),
    Bug(
        label="flow-plain/not-in-list",
        entry="index",
        inputs=(([1, 2], 3), (["a"], "b"), ([], None), ([1], 9), (["x", "y"], "z"), ([2.5], 1.5)),
    ),
    Bug(
        label="flow-plain/nothing-after",
        entry="index",
        inputs=(([1, 2], 2), (["a"], "a"), ([None], None), ([9], 9), (["x", "y"], "y"), ([2.5], 2.5)),
    ),
    Bug(
        label="flow-plain/unhashable",
        entry="key_of",
        inputs=(([[]],), ([1, [2]],), ([["a"]],), ([3, 4, []],), ([[None]],), ([[1, 2]],)),
    ),
    Bug(label="flow-plain/low", entry="asserted", inputs=tuple((-n, n) for n in range(1, 7))),
    Bug(label="flow-plain/high", entry="asserted", inputs=tuple((n, n - 1) for n in range(1, 7))),
    Bug(label="flow-plain/unbound", entry="bound", inputs=((0,), (None,), ("",), ([],), (0.0,), (False,))),
    Bug(
        label="flow-plain/argument-missing",
        entry="called",
        inputs=(([1],), (["a"],), ([None],), ([2.5],), ([[1]],), ([{}],)),
    ),
    Bug(
        label="flow-plain/argument-too-many",
        entry="called",
        inputs=(([1, 2, 3],), (["a"] * 3,), ([None] * 4,), ([2.5] * 3,), ([1] * 9,), ([{}] * 3,)),
    ),
    Bug(
        label="flow-plain/no-attribute",
        entry="called",
        inputs=(([1, 2],), ([9, 9],), ([4, 2],), ([5, 1],), ([6, 6],), ([7, 7],)),
    ),
    Bug(
        label="flow-plain/not-serialisable",
        entry="encoded",
        inputs=(({"a": {1}},), ([{2, 3}],), ({"x": {"y": {4}}},), ([set()],), ({5: {"z"}},), ([1, [2, {3}]],)),
    ),
    Bug(
        label="flow-plain/not-base64",
        entry="decoded",
        inputs=(("a",), ("abcde",), ("x" * 9,), ("a=b",), ("!!",), ("ab c",)),
    ),
    Bug(
        label="flow-plain/not-ascii",
        entry="decoded",
        inputs=(("/w==",), ("YWL/",), ("gIE=",), ("w6k=",), ("4pyT",), ("/////w==",)),
    ),
    Bug(
        label="flow-plain/not-uuid",
        entry="identity",
        inputs=(("x",), ("1234",), ("",), ("not-a-uuid",), ("3f2504e0",), ("z" * 32,)),
    ),
    Bug(
        label="flow-plain/not-a-network",
        entry="network",
        inputs=(("x",), ("300.1.1.1/8",), ("10.0.0.0/99",), ("fe80::/200",), ("a/b",), ("1.2.3/8",)),
    ),
    Bug(
        label="flow-plain/host-bits",
        entry="network",
        inputs=(
            ("10.1.2.3/8",),
            ("192.168.1.1/24",),
            ("fe80::1/64",),
            ("172.16.5.4/12",),
            ("10.0.0.1/31",),
            ("127.0.0.1/8",),
        ),
    ),
    Bug(
        label="flow-plain/wrong-size",
        entry="binary",
        inputs=((b"x",), (b"",), (b"abc",), (b"abcde",), (b"\0" * 9,), (b"\xff",)),
    ),
    Bug(label="flow-plain/kind-zero", entry="binary", inputs=tuple((bytes((n, 0, 0, 0)),) for n in range(6))),
]
