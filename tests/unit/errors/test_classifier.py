"""Who is asked first about an exception, what wrappers are looked through, and what users can add."""

from __future__ import annotations

import builtins
import time
from pathlib import Path

import pytest

from celery_recovery.errors import ErrorClassifier, ErrorInfo, ErrorSeverity, ErrorType, classify
from celery_recovery.errors.judgement import SEVERITY
from celery_recovery.errors.rules import FAMILIES
from celery_recovery.errors.rules.rule import Family, Through, Verdict, permanent, transient
from celery_recovery.errors.rules.table import Table
from tests.unit.errors.lookalike import lookalike

ExceptionGroup = getattr(builtins, "ExceptionGroup", None)  # of Python 3.11


class Opaque(Exception):
    """Says nothing by itself."""


class Odd(Opaque):
    """Nor does this."""


def _from(wrapper: BaseException, cause: BaseException) -> BaseException:
    wrapper.__cause__ = cause
    return wrapper


def _said(exc: BaseException) -> tuple[str, bool]:
    info = classify(exc)
    return info.error_type.value, info.is_retryable


# --- order -----------------------------------------------------------------------------------------------------------


def test_the_most_specific_class_counts():
    """Of a class and its base, the rule of the class itself is taken."""
    base = lookalike("shoplib.errors.Error")
    special = lookalike("shoplib.errors.Special", base)
    family = Family(
        name="shoplib",
        classes={
            "shoplib.errors.Error": transient(ErrorType.NETWORK),
            "shoplib.errors.Special": permanent(ErrorType.SCHEMA),
        },
    )
    classifier = ErrorClassifier(families=(family,))
    assert classifier.classify(special()).rule == "shoplib.Special"
    assert classifier.classify(base()).rule == "shoplib.Error"
    assert classifier.classify(type("Mine", (base,), {})()).error_type is ErrorType.NETWORK


def test_a_class_is_found_in_whatever_module_of_its_package():
    """`package.*.Name` finds the class after a move; an exact name comes first."""
    family = Family(
        name="lib",
        classes={"lib.*.Error": transient(ErrorType.NETWORK), "lib.sql.Error": permanent(ErrorType.SCHEMA)},
    )
    classifier = ErrorClassifier(families=(family,))
    assert classifier.classify(lookalike("lib.private.v2.Error")()).error_type is ErrorType.NETWORK
    assert classifier.classify(lookalike("lib.Error")()).error_type is ErrorType.NETWORK
    assert classifier.classify(lookalike("lib.sql.Error")()).error_type is ErrorType.SCHEMA
    assert classifier.classify(lookalike("other.lib.Error")()).error_type is ErrorType.UNKNOWN


def test_of_two_families_the_first_counts():
    """Order of families decides where two claim a class, and protocols are asked in that order."""
    one = Family(name="one", classes={"x.E": transient(ErrorType.NETWORK)}, protocols=(("p", lambda _: None),))
    two = Family(
        name="two",
        classes={"x.E": permanent(ErrorType.SCHEMA)},
        protocols=(("p", lambda _: transient(ErrorType.SYSTEM)),),
    )
    classifier = ErrorClassifier(families=(one, two))
    assert classifier.classify(lookalike("x.E")()).rule == "one.E"
    with_attribute = Opaque()
    with_attribute.status = "odd"  # type: ignore[attr-defined]
    assert classifier.classify(with_attribute).rule == "two.p"


def test_no_two_families_claim_the_same_class():
    """A class named twice would make one of the rules dead (a family may refine itself)."""
    claims: dict[str, set[str]] = {}
    for family in FAMILIES:
        for name in family.classes:
            claims.setdefault(name, set()).add(family.name)
    assert not {name: families for name, families in claims.items() if len(families) > 1}


def test_a_library_that_speaks_for_its_class_is_not_overruled_by_attributes():
    """Protocols are for classes that nobody knows."""
    exc = lookalike("json.decoder.JSONDecodeError", ValueError, status_code=503, retryable=True)("x")
    assert _said(exc) == ("parsing", False)


def test_a_protocol_comes_before_the_builtin_base():
    """A status says more than the ValueError it is derived from."""
    assert _said(type("ApiProblem", (ValueError,), {"status_code": 503})("x")) == ("network", True)


def test_a_name_comes_before_the_builtin_base():
    """So does a telling name; a silent one leaves it to the base."""
    assert _said(type("OutOfStock", (ValueError,), {})("x")) == ("business_logic", False)
    assert _said(type("Whatever", (ValueError,), {})("x")) == ("validation", False)


def test_errno_comes_before_the_name():
    """The operating system knows better than the class is called."""
    assert _said(type("ParseError", (OSError,), {})(111, "refused")) == ("network", True)


# --- causes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [Odd, Opaque, Exception, RuntimeError, OSError], ids=lambda c: c.__name__)
def test_an_opaque_wrapper_is_as_good_as_its_cause(wrapper):
    """`raise Wrapper from cause` is about the cause, however deep."""
    exc = _from(wrapper("x"), _from(Opaque("y"), ConnectionResetError(104, "reset")))
    assert _said(exc) == ("network", True)
    assert classify(exc).error_code == "ECONNRESET"


@pytest.mark.parametrize("name", ["orig", "original_exception", "inner", "reason", "last_exception", "exc"])
def test_an_opaque_wrapper_is_as_good_as_what_it_carries(name):
    """Wrappers of older code keep the exception in an attribute, or as an argument."""
    exc = Odd("x")
    setattr(exc, name, ConnectionResetError(104, "reset"))
    assert _said(exc) == ("network", True)
    for cls in (Odd, RuntimeError, Exception, OSError):
        assert _said(cls("it failed", TimeoutError())) == ("network", True)


def test_an_exception_that_carries_itself_ends():
    """Nor is a circle of attributes walked for ever."""
    one, two = Odd("x"), Odd("y")
    one.inner, two.inner = two, one  # type: ignore[attr-defined]
    assert classify(one).error_type is ErrorType.UNKNOWN


def test_a_mere_context_does_not_count():
    """What was handled when it was raised is not why."""
    exc = Odd("x")
    exc.__context__ = ConnectionResetError(104, "reset")
    assert classify(exc).error_type is ErrorType.UNKNOWN
    assert classify(exc).class_chain == (f"{__name__}.Odd",)


def test_a_precise_exception_is_not_reread_through_its_cause():
    """A ValueError stays one."""
    assert _said(_from(ValueError("x"), ConnectionResetError(104, "reset"))) == ("validation", False)


def test_a_telling_name_beats_a_plain_cause_but_not_a_precise_one():
    """`OrderRejected from KeyError` is about the order; `from ConnectionResetError` about the connection."""
    rejected = type("OrderRejected", (Exception,), {})
    assert _said(_from(rejected(), KeyError("x"))) == ("business_logic", False)
    assert _said(_from(rejected(), ConnectionResetError())) == ("network", True)


def test_the_chain_names_explicit_causes_outermost_first():
    """`class_chain` is the exception and what it was raised from."""
    exc = _from(Odd("x"), _from(RuntimeError("y"), KeyError("z")))
    assert classify(exc).class_chain == (f"{__name__}.Odd", "builtins.RuntimeError", "builtins.KeyError")


# --- wrappers and groups ---------------------------------------------------------------------------------------------


def test_through_looks_inside_and_falls_back():
    """A rule may point at what is inside; its own verdict stands if nothing is known about that."""
    otherwise = permanent(ErrorType.SCHEMA, "own")
    family = Family(name="w", classes={"w.Wrap": lambda exc: Through(exc.inner, otherwise)})
    classifier = ErrorClassifier(families=(*FAMILIES, family))
    wrap = lookalike("w.Wrap")
    for inner, expected in ((ConnectionResetError(), "network"), (Odd("x"), "schema"), (None, "schema")):
        exc = wrap("x")
        exc.inner = inner  # type: ignore[attr-defined]
        assert classifier.classify(exc).error_type.value == expected


def test_a_wrapper_that_holds_itself_ends():
    """A wrapper pointing at itself gets its own verdict."""
    family = Family(name="w", classes={"w.Wrap": lambda exc: Through(exc, permanent(ErrorType.SCHEMA))})
    assert ErrorClassifier(families=(family,)).classify(lookalike("w.Wrap")()).error_type is ErrorType.SCHEMA


@pytest.mark.skipif(ExceptionGroup is None, reason="exception groups are of Python 3.11")
class TestGroups:
    """A group is transient only if every member is; its type is the worst member's."""

    def test_all_transient(self):
        assert _said(ExceptionGroup("g", [ConnectionResetError(), TimeoutError()])) == ("network", True)

    def test_one_permanent(self):
        assert _said(ExceptionGroup("g", [ConnectionResetError(), KeyError("x"), ValueError("y")])) == ("schema", False)

    def test_nested(self):
        inner = ExceptionGroup("h", [ValueError("x")])
        assert _said(ExceptionGroup("g", [ConnectionResetError(), inner])) == ("validation", False)

    def test_the_longest_wait_counts(self):
        members = [type("Busy", (Exception,), {"status_code": 503, "retry_after": wait})() for wait in (3, 40, 7)]
        assert classify(ExceptionGroup("g", members)).retry_after == 40

    def test_the_most_severe_of_the_transient(self):
        assert _said(ExceptionGroup("g", [TimeoutError(), OSError(28, "full")])) == ("filesystem", True)


# --- what exceptions say of themselves -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"retryable": True}, ("system", True)),
        ({"retriable": False}, ("unknown", False)),
        ({"is_retryable": lambda _: True}, ("system", True)),
        ({"temporary": True}, ("system", True)),
        ({"permanent": True}, ("unknown", False)),
        ({"status_code": 503, "retryable": False}, ("network", False)),
        ({"status_code": 400, "should_retry": True}, ("validation", True)),
        ({"retryable": "maybe"}, ("unknown", True)),
        ({"status_code": 404}, ("business_logic", False)),
        ({"code": "429"}, ("network", True)),
        ({"code": "RATE_LIMITED"}, ("network", True)),
        ({"status": "failed"}, ("unknown", True)),
        ({"errno": 111, "strerror": "refused"}, ("network", True)),
        ({"errno": 2}, ("unknown", True)),  # somebody's own number
        ({"code": 7}, ("unknown", True)),
    ],
)
def test_shared_shapes_of_unknown_sdks(attributes, expected):
    """Statuses, codes and flags mean the same on classes that nobody knows."""
    assert _said(type("SdkProblem", (Exception,), attributes)("x")) == expected


@pytest.mark.parametrize("value", [7, 7.0, "7", b"7", "7s"])
def test_retry_after_of_the_exception_itself(value):
    """An exception that says when to come back is transient, and says when."""
    info = classify(type("Busy7", (Exception,), {"retry_after": value})("x"))
    assert (info.is_retryable, info.retry_after) == (True, 7.0)


def test_a_response_like_those_of_requests():
    """`response.status_code` and its headers are understood on any class."""
    response = type("Response", (), {"status_code": 503, "headers": {"retry-after": "9"}})()
    info = classify(type("SdkProblem", (Exception,), {"response": response})("x"))
    assert (info.error_code, info.retry_after, info.context) == ("HTTP 503", 9.0, {"status": 503})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", ("memory", True)),
        ("can't start new thread", ("system", True)),
        ("upstream timed out after 30 s", ("network", True)),
        ("Tunnel connection failed: 407 Proxy Authentication Required", ("network", False)),
        ("Tunnel connection failed: 503 Service Unavailable", ("network", True)),
        ("got HTTP 404 from partner", ("business_logic", False)),
        ("something odd", ("unknown", True)),
    ],
)
def test_messages_of_opaque_classes_are_a_last_hint(message, expected):
    """Only where class, attributes and cause say nothing is the text looked at."""
    assert _said(RuntimeError(message)) == expected
    assert _said(ValueError(message)) == ("validation", False)


# --- the user's rules ------------------------------------------------------------------------------------------------


def test_a_mapping_of_classes_and_names():
    """Classes or qualified names, with an ErrorType, a Verdict or a callable; of several, the nearest class's."""
    classifier = ErrorClassifier(
        rules={
            Opaque: ErrorType.NETWORK,
            f"{__name__}.Odd": permanent(ErrorType.SCHEMA, "odd"),
            KeyError: lambda exc: transient(ErrorType.SYSTEM) if exc.args == ("busy",) else None,
        }
    )
    assert classifier.classify(Opaque()).is_retryable
    assert classifier.classify(Odd()).error_code == "odd"
    assert classifier.classify(KeyError("busy")).error_type is ErrorType.SYSTEM
    assert classifier.classify(KeyError("x")).rule == "python.KeyError"


@pytest.mark.parametrize("error_type", list(ErrorType))
def test_a_type_alone_decides_about_retries(error_type):
    """Data and domain are permanent, everything else is worth another attempt."""
    permanent_types = {ErrorType.VALIDATION, ErrorType.PARSING, ErrorType.SCHEMA, ErrorType.BUSINESS_LOGIC}
    info = ErrorClassifier(rules={Odd: error_type}).classify(Odd())
    assert (info.error_type, info.is_retryable) == (error_type, error_type not in permanent_types)


def test_the_decorator_asks_for_its_classes_only():
    """`@classifier.rule(Class)` sees that class and its subclasses, and is named in the result."""
    classifier = ErrorClassifier()

    @classifier.rule(Opaque)
    def partner(exc):
        return transient(ErrorType.NETWORK, retry_after=5.0)

    assert classifier.classify(Odd()).rule == "user.partner"
    assert classifier.classify(Odd()).retry_after == 5.0
    assert classifier.classify(ValueError()).rule == "python.ValueError"
    assert partner(None).retryable  # the function is still there


def test_the_users_rules_are_asked_first_and_the_latest_first_of_all():
    """`first=False` puts a rule behind the user's others; all are before the built-in ones."""
    classifier = ErrorClassifier()
    classifier.add_rule(lambda exc: ErrorType.SCHEMA, name="one")
    classifier.add_rule(lambda exc: ErrorType.MEMORY, name="two")
    classifier.add_rule(lambda exc: ErrorType.PARSING, name="three", first=False)
    assert classifier.classify(ConnectionResetError()).rule == "user.two"
    assert [rule.name for rule in classifier._user] == ["two", "one", "three"]


def test_rules_are_asked_about_the_inside_too():
    """A user's rule for a cause counts when an opaque wrapper is looked through."""
    classifier = ErrorClassifier(rules={Odd: ErrorType.MEMORY})
    assert classifier.classify(_from(RuntimeError("x"), Odd())).error_type is ErrorType.MEMORY


def test_a_rule_that_is_no_rule_is_refused():
    """Said at once, not when the first error comes."""
    with pytest.raises(TypeError, match="must be callable"):
        ErrorClassifier().add_rule(ErrorType.NETWORK)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ErrorType.SCHEMA, "schema"),
        (transient(ErrorType.MEMORY), "memory"),
        (Through(ValueError("x"), transient(ErrorType.MEMORY)), "validation"),
        (Through(None, transient(ErrorType.MEMORY)), "memory"),
        (None, "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_judge_may_be_overridden(answer, expected):
    """A subclass has the last word about the whole failure."""

    class Mine(ErrorClassifier):
        def judge(self, exc):
            return answer

    assert Mine().classify(Odd()).error_type.value == expected


def test_judge_can_correct_what_the_rules_say():
    """`super().judge` gives the rules' ruling."""

    class Never(ErrorClassifier):
        def judge(self, exc):
            ruling = super().judge(exc)
            return permanent(ruling.verdict.error_type)

    info = Never().classify(ConnectionResetError())
    assert (info.error_type, info.is_retryable) == (ErrorType.NETWORK, False)


# --- the result ------------------------------------------------------------------------------------------------------


def test_everything_about_one_failure():
    """All fields, of a failure really raised."""
    before = time.time()
    try:
        Path("/nonexistent/file.csv").read_text()
    except OSError as exc:
        info = classify(exc, task="shop.read")
    assert info.error_type is ErrorType.FILESYSTEM
    assert not info.is_retryable
    assert info.severity is ErrorSeverity.MEDIUM
    assert info.rule == "os.FileNotFoundError"
    assert info.exception == "builtins.FileNotFoundError"
    assert info.error_code == "ENOENT"
    assert info.message == "[Errno 2] No such file or directory: '/nonexistent/file.csv'"
    assert info.retry_after is None
    assert before <= info.timestamp <= time.time()
    assert info.class_chain == ("builtins.FileNotFoundError",)
    assert info.frames[0].name == "test_everything_about_one_failure"
    assert info.traceback.endswith(f"{info.exception}: {info.message}")
    assert 'Path("/nonexistent/file.csv").read_text()' in info.traceback
    assert ErrorInfo.from_dict(info.to_dict()) == info


def test_now_is_the_callers():
    """The clock can be given."""
    assert classify(ValueError(), now=7.0).timestamp == 7.0


@pytest.mark.parametrize(("wait", "kept"), [(-5.0, 0.0), (1e12, 86_400.0), (float("nan"), None), (2.5, 2.5)])
def test_waits_are_bounded(wait, kept):
    """No rule can ask for a wait below nothing or beyond a day."""
    classifier = ErrorClassifier(rules={Odd: transient(ErrorType.NETWORK, retry_after=wait)})
    assert classifier.classify(Odd()).retry_after == kept


def test_context_is_made_of_json_scalars():
    """What a rule keeps is cut and made plain."""
    context = {"host": "h" * 500, "object": object(), "n": 7, "nothing": None, 3: True}
    classifier = ErrorClassifier(rules={Odd: Verdict(ErrorType.NETWORK, True, context=context)})
    kept = classifier.classify(Odd()).context
    assert len(kept["host"]) == 200
    assert isinstance(kept["object"], str)
    assert (kept["n"], kept["nothing"], kept["3"]) == (7, None, True)


def test_every_type_has_a_severity():
    """A rule that says none leaves it to the type."""
    assert set(SEVERITY) == set(ErrorType)
    assert classify(OSError(28, "full")).severity is ErrorSeverity.CRITICAL
    assert classify(MemoryError()).severity is ErrorSeverity.HIGH


def test_plans_are_remembered_per_class_not_per_name():
    """Two classes of the same name are two classes."""
    table = Table(FAMILIES)
    one, two = lookalike("x.E", ValueError), lookalike("x.E", KeyError)
    assert table.plan(one) is table.plan(one)
    assert table.plan(one).base != table.plan(two).base
