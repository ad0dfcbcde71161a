"""The settings: defaults, friendly forms, refusals with the name and the nearest, and imports only when needed."""

from __future__ import annotations

import dataclasses
import sys
from datetime import timedelta

import pytest

from celery_recovery.config import PREFIX, SETTINGS, Settings, load
from celery_recovery.errors.model import ErrorInfo, ErrorSeverity, ErrorType
from celery_recovery.exceptions import ConfigurationError
from celery_recovery.policy import RecoveryPolicy

INFO = ErrorInfo(error_type=ErrorType.NETWORK, is_retryable=True, severity=ErrorSeverity.LOW, rule="x", exception="y.Z")


def test_nothing_set():
    """Every setting has a default."""
    settings = Settings.from_mapping({})
    for setting in SETTINGS:
        if setting.name not in ("recovery_policies", "recovery_circuits"):
            assert getattr(settings, setting.name.removeprefix(PREFIX)) == setting.default


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_reference_is_complete(setting):
    """Each has a sentence, and its default may be written in a configuration as it stands there."""
    assert setting.doc.endswith(".")
    Settings.from_mapping({setting.name: setting.default})


def test_reference_lists_every_field():
    """`SETTINGS` and `Settings` are the same list."""
    assert [setting.name for setting in SETTINGS] == [PREFIX + item.name for item in dataclasses.fields(Settings)]


def test_other_settings_are_left_alone():
    """Celery's own settings, and those of other extensions, are none of our business."""
    assert Settings.from_mapping({"broker_url": 3, "task_recovery_x": 4, "recovery_stats": False}).stats is False


@pytest.mark.parametrize(
    ("wrong", "right"), [("recovery_polices", "recovery_policies"), ("recovery_stat", "recovery_stats")]
)
def test_unknown_setting(wrong, right):
    """A misspelt setting would be a default in disguise: it is refused, and the nearest is named."""
    with pytest.raises(ConfigurationError, match=f"^{wrong}: .*Did you mean '{right}'"):
        Settings.from_mapping({wrong: 3})


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("redis_url", "rediss://:secret@host:6379/1", "rediss://:secret@host:6379/1"),
        ("publish_timeout", timedelta(minutes=1), 60.0),
        ("stats_interval", 2, 2.0),
        ("letter_max_age", None, None),
        ("redact", ["pin$"], ("pin$",)),
        ("rules", ("shop.rules:busy", print), ("shop.rules:busy", print)),
        ("classifier", "shop.rules.Classifier", "shop.rules.Classifier"),
        ("history_length", 1, 1),
    ],
)
def test_friendly_forms(name, value, read):
    """Durations may be timedeltas, lists any sequence, code a dotted path."""
    assert getattr(Settings.from_mapping({PREFIX + name: value}), name) == read


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("redis_url", "http://host", ""),
        ("redis_url", 6379, ""),
        ("key_prefix", "", ""),
        ("key_prefix", "a{b}", ""),
        ("dead_letter_queue", "two words", ""),
        ("dead_letter_exchange", None, ""),
        ("dead_letter_queue_type", "stream", ""),
        ("on_dead_letter", "hodl", ""),
        ("on_dead_letter", None, ""),
        ("publish_timeout", 0, ""),
        ("publish_timeout", "30", ""),
        ("intake", 1, ""),
        ("stats", "yes", ""),
        ("stats_interval", -1, ""),
        ("stats_retention", None, ""),
        ("letter_max_age", 0, ""),
        ("history_length", 0, ""),
        ("history_length", 101, ""),
        ("history_length", True, ""),
        ("redact", "pin", ""),
        ("redact", ["ok", "("], "[1]"),
        ("redact", [7], "[0]"),
        ("rules", print, ""),
        ("rules", ["no path"], "[0]"),
        ("rules", [None], "[0]"),
        ("classifier", 7, ""),
        ("classifier", "Classifier", ""),
        ("policies", {"network": {"max_delay": -3}}, "['network'].max_delay"),
    ],
)
def test_nonsense(name, value, option):
    """A value that makes no sense is refused under its full name, down to the entry."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_mapping({PREFIX + name: value})
    assert caught.value.option == PREFIX + name + option
    assert caught.value.expected


def test_a_refused_url_shows_no_password():
    """Errors are logged, and URLs hold passwords."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_mapping({"recovery_redis_url": "http://user:hunter2@host"})
    assert "hunter2" not in str(caught.value)


def test_policies_are_read():
    """`recovery_policies` becomes the app's RecoveryPolicy; an instance is taken as it is."""
    settings = Settings.from_mapping({"recovery_policies": {"network": 4}})
    assert settings.policies.for_error(None, INFO).retry.max_attempts == 4
    own = RecoveryPolicy()
    assert Settings.from_mapping({"recovery_policies": own}).policies is own


# -- code by its path


def test_paths_are_imported_when_used(tmp_path, monkeypatch):
    """Reading the settings imports nothing of the user's; using a rule imports its module."""
    (tmp_path / "shop_rules_for_test.py").write_text("class Outer:\n    rule = staticmethod(len)\n\nclass C: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings.from_mapping(
        {"recovery_rules": ["shop_rules_for_test:Outer.rule", print], "recovery_classifier": "shop_rules_for_test.C"}
    )
    assert "shop_rules_for_test" not in sys.modules
    assert settings.load_rules() == (len, print)
    assert settings.load_classifier() is sys.modules["shop_rules_for_test"].C


def test_no_classifier_of_your_own():
    """None means the built-in one."""
    assert Settings().load_classifier() is None


@pytest.mark.parametrize(
    "path",
    ["no_such_package_here:rule", "math:no_such_name", "math.pi", "math", "celery_recovery.config:PREFIX", "..x"],
)
def test_a_path_that_leads_nowhere(path):
    """The error names the setting and the path, and keeps the import's own error as its cause where there is one."""
    with pytest.raises(ConfigurationError, match=r"^recovery_rules\[0\]: .*" + path.replace(".", r"\.")):
        load(path, "recovery_rules[0]")


def test_a_classifier_that_is_no_class():
    """A function cannot be the classifier."""
    with pytest.raises(ConfigurationError, match="recovery_classifier: expected the path of a class"):
        Settings(classifier="math.floor").load_classifier()
