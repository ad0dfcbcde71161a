"""`classify` answers whatever the exception does; what it answers is JSON, short, and there soon."""

from __future__ import annotations

import builtins
import json
import sys
import time

import pytest

from celery_recovery.errors import ErrorClassifier, ErrorInfo, ErrorType, classify
from celery_recovery.errors.anatomy import CHAIN_LIMIT, INNER_FRAMES, OUTER_FRAMES
from celery_recovery.errors.reading import MESSAGE_LIMIT
from celery_recovery.errors.rules.rule import Verdict

ExceptionGroup = getattr(builtins, "ExceptionGroup", None)  # of Python 3.11
BASES = [OSError, ValueError, KeyError, ConnectionError] + ([ExceptionGroup] if ExceptionGroup else [])


def _raises(error: BaseException):
    def method(self, *_args, **_kwargs):
        raise error

    return method


ERRORS = [ValueError("hostile"), RecursionError(), SystemExit(3), KeyboardInterrupt(), MemoryError(), GeneratorExit()]
METHODS = [
    "__str__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__bool__",
    "__len__",
    "__getattr__",
    "__getattribute__",
    "__reduce__",
]
NAMES = [
    "response",
    "status_code",
    "code",
    "status",
    "errno",
    "strerror",
    "retry_after",
    "retryable",
    "args",
    "__cause__",
    "__traceback__",
    "__class__",
    "__dict__",
    "exceptions",
    "headers",
    "sqlstate",
    "orig",
]


def _checked(info: ErrorInfo) -> ErrorInfo:
    text = json.dumps(info.to_dict(), allow_nan=False)
    text.encode("utf-8")
    assert ErrorInfo.from_dict(json.loads(text)) == info
    assert len(info.message) <= MESSAGE_LIMIT
    assert info.fingerprint.startswith("2:")
    assert len(info.fingerprint) == 18
    assert isinstance(info.traceback, str)
    return info


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_raises_is_survived(method, error):
    """Every special method may raise anything, also what is no Exception."""
    hostile = type("Hostile", (Exception,), {method: _raises(error)})
    info = _checked(classify(hostile("x")))
    assert info.exception.endswith("Hostile")


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_property_that_raises_is_as_if_it_were_not_there(name, error):
    """Attributes that the rules look at may be properties that raise."""
    hostile = type("Hostile", (Exception,), {name: property(_raises(error))})
    assert _checked(classify(hostile("x"))).error_type is ErrorType.UNKNOWN


def test_hostile_values_behind_the_usual_attributes():
    """An attribute's value may be as hostile as the exception."""
    value = type("Value", (), {name: _raises(SystemExit()) for name in METHODS})()
    hostile = type("Hostile", (Exception,), {name: value for name in NAMES if not name.startswith("__")})
    assert _checked(classify(hostile("x"))).error_type is ErrorType.UNKNOWN


@pytest.mark.parametrize("base", BASES)
def test_builtin_bases_with_hostile_methods(base):
    """The same below Python's own classes."""
    methods = {"__str__": _raises(SystemExit()), "__getattribute__": _raises(KeyboardInterrupt())}
    hostile = type("Hostile", (base,), methods)
    args = ("x", [ValueError()]) if base.__name__ == "ExceptionGroup" else ("x",)
    _checked(classify(hostile(*args)))


def test_str_that_is_no_text():
    """`__str__` may answer with something else, or with a str that is none."""

    class Text(str):
        def __getitem__(self, key):
            raise SystemExit

        def isascii(self):
            raise SystemExit

        encode = __len__ = isascii

    for answer in (None, 7, Text("text")):
        hostile = type("Hostile", (Exception,), {"__str__": lambda self, answer=answer: answer})
        _checked(classify(hostile("x")))


def test_a_class_that_lies_about_itself():
    """`__class__` is not believed; the type is."""

    class Liar(Exception):
        @property
        def __class__(self):
            return ConnectionResetError

    info = _checked(classify(Liar("x")))
    assert info.exception.endswith("Liar")
    assert info.error_type is ErrorType.UNKNOWN


def test_a_metaclass_that_raises():
    """Hashing, comparing and looking at the class may raise."""

    class Meta(type):
        __hash__ = __eq__ = __instancecheck__ = __subclasscheck__ = __getattribute__ = _raises(SystemExit())

    hostile = Meta("Hostile", (ConnectionResetError,), {})
    info = _checked(classify(hostile(104, "reset")))
    assert (info.error_type, info.is_retryable) == (ErrorType.NETWORK, True)


@pytest.mark.parametrize("module", [None, 7, "", "\ud800", "x" * 5000, object()])
def test_odd_class_names(module):
    """Modules need not be text, names need not be short or UTF-8."""
    hostile = type("Odd é\n" + "n" * 5000, (Exception,), {"__module__": module})
    assert len(_checked(classify(hostile("x"))).exception) <= 300


def test_causes_in_a_circle_end():
    """A cycle of explicit causes is walked once."""
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert _checked(classify(one)).class_chain == ("builtins.RuntimeError",) * 2
    one.__cause__ = one
    assert _checked(classify(one)).class_chain == ("builtins.RuntimeError",)


def test_a_chain_of_ten_thousand_causes_is_cut():
    """Only so many causes are followed, and named."""
    exc: BaseException = ConnectionResetError()
    for number in range(10_000):
        outer = RuntimeError(str(number))
        outer.__cause__ = exc
        exc = outer
    started = time.perf_counter()
    info = _checked(classify(exc))
    assert time.perf_counter() - started < 1
    assert len(info.class_chain) == CHAIN_LIMIT


@pytest.mark.skipif(ExceptionGroup is None, reason="exception groups are of Python 3.11")
def test_groups_of_groups_end():
    """Neither wide nor deep groups are walked without end."""
    deep: BaseException = ValueError("x")
    for _ in range(2000):
        deep = ExceptionGroup("deep", [deep])
    started = time.perf_counter()
    _checked(classify(deep))
    wide = ExceptionGroup("g", [ExceptionGroup("h", [ExceptionGroup("i", [ValueError()] * 100)] * 100)] * 100)
    _checked(classify(wide))
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("unit", ["x", "\ud800", "é", "1 ", "'", "://", "a@", "/", "\\", "0x", "`'\""], ids=repr)
def test_a_message_of_ten_megabytes_is_cut(unit):
    """A huge message costs no seconds and is kept short, whatever it is made of."""
    exc = type("PlainError", (Exception,), {})(unit * (10_000_000 // len(unit)))
    started = time.perf_counter()
    info = _checked(classify(exc))
    assert time.perf_counter() - started < 1
    assert len(info.message) == MESSAGE_LIMIT


@pytest.mark.parametrize("argument", [list(range(3_000_000)), b"x" * 10_000_000, dict.fromkeys(range(1_000_000))],
                         ids=["list", "bytes", "dict"])  # fmt: skip
def test_huge_arguments_are_not_printed_whole(argument):
    """A container as argument is not turned into megabytes of text first."""
    started = time.perf_counter()
    assert len(_checked(classify(Exception(argument))).message) <= MESSAGE_LIMIT
    assert time.perf_counter() - started < 0.5


def test_surrogates_and_nulls_become_json():
    """Lone surrogates in message, code and context cannot break UTF-8."""
    classifier = ErrorClassifier(
        rules=[lambda exc: Verdict(ErrorType.PARSING, False, "\ud800", context={"\udfff": "\ud800", "n": float("nan")})]
    )
    info = _checked(classifier.classify(Exception("a\udc80\x00b")))
    assert info.message == "a?\x00b"


def test_a_traceback_of_ten_thousand_frames_is_cut_in_the_middle():
    """Where it began and where it ended are kept."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(15_000)

    def fall(left: int) -> None:
        if left:
            fall(left - 1)
        else:
            raise ValueError("bottom")

    try:
        fall(9_000)
    except ValueError as exc:
        info = _checked(classify(exc))
    finally:
        sys.setrecursionlimit(limit)
    assert len(info.frames) == OUTER_FRAMES + INNER_FRAMES
    assert info.frames[0].name == "test_a_traceback_of_ten_thousand_frames_is_cut_in_the_middle"
    assert info.frames[-1].name == "fall"


def test_near_the_recursion_limit_there_is_still_an_answer():
    """Called with almost no stack left, it answers, if only with less."""

    def deeper(exc: Exception) -> ErrorInfo:
        try:
            return deeper(exc)
        except RecursionError:
            return classify(exc)

    assert isinstance(deeper(RuntimeError("x")), ErrorInfo)


@pytest.mark.parametrize("thing", [None, 7, "text", ValueError, object(), {}])
def test_what_is_no_exception_at_all(thing):
    """Callers that pass something else get an answer, too."""
    info = _checked(classify(thing))
    assert info.error_type is ErrorType.UNKNOWN


def test_rules_that_raise_say_nothing():
    """A user's rule that raises, or answers nonsense, is passed over."""

    def broken(exc):
        raise SystemExit

    classifier = ErrorClassifier(rules=[broken, lambda exc: 7, lambda exc: object()])
    assert classifier.classify(ValueError("x")).rule == "python.ValueError"


def test_an_overriding_judge_that_raises_falls_back_to_the_rules():
    """A broken subclass cannot make errors vanish."""

    class Broken(ErrorClassifier):
        def judge(self, exc):
            raise KeyboardInterrupt

    assert Broken().classify(ValueError("x")).rule == "python.ValueError"


def test_classes_are_not_kept_alive():
    """What is remembered about classes does not hold them."""
    import gc
    import weakref

    made = type("Passing", (Exception,), {})
    classify(made("x"))
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None


def test_ten_thousand_classes_are_not_all_remembered():
    """The memory for classes is bounded."""
    classifier = ErrorClassifier()
    kept = [type(f"E{number}", (Exception,), {}) for number in range(5000)]
    for cls in kept:
        classifier.classify(cls())
    assert len(classifier._table._plans) <= 2048
