"""`manage.py recovery …` in a real Django project (`tests/apps/django_project`), with a real worker and a real Redis.

Django can be set up once in a process, so every call is a process of its own.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.jobs_client import eventually
from tests.services import Worker

pytest.importorskip("django", reason="Django is not installed")

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "tests/apps/django_project"
NOWHERE = "redis://127.0.0.1:1/0"

pytestmark = pytest.mark.redis


class Ended(NamedTuple):
    """What a command printed on stdout and stderr, and its exit code."""

    output: str
    errors: str
    code: int


class Project:
    """The project in a directory; `settings` replace its own."""

    def __init__(self, directory: Path, redis_url: str, database: Path) -> None:
        self.directory = directory
        self.settings: dict[str, Any] = {}
        self._env = {
            **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")},
            "PYTHONPATH": os.pathsep.join(map(str, (directory, ROOT))),
            "SHOP_REDIS": redis_url,
            "SHOP_DATABASE": str(database),
        }

    @property
    def env(self) -> dict[str, str]:
        return {**self._env, "SHOP_SETTINGS": json.dumps(self.settings)}

    def run(self, *command: str, code: int | None = 0, **env: str) -> Ended:
        """A Python program in the project's directory; its exit code is asserted."""
        ended = subprocess.run(
            [sys.executable, *command], cwd=self.directory, env={**self.env, **env}, capture_output=True, text=True,
            check=False, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        result = Ended(ended.stdout, ended.stderr, ended.returncode)
        assert code is None or ended.returncode == code, result
        return result

    def manage(self, *words: str, code: int | None = 0, **env: str) -> Ended:
        ended = self.run("manage.py", *words, code=code, **env)
        assert "--traceback" in words or "Traceback (most recent call last)" not in ended.errors, ended.errors
        return ended

    def recovery(self, *words: str, code: int | None = 0, **env: str) -> Ended:
        return self.manage("recovery", *words, code=code, **env)

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.recovery(*words, "--json", code=code).output)

    def code(self, program: str) -> Any:
        """What a program in the set-up project assigns to `found`, by way of JSON."""
        lines = ("import json, django", "django.setup()", program, "print(json.dumps(found))")
        ended = self.run("-c", "\n".join(lines), DJANGO_SETTINGS_MODULE="shop.settings")
        return json.loads(ended.output.splitlines()[-1])


@pytest.fixture
def project(redis_url: str, tmp_path: Path) -> Project:
    """Without tables: most of what is asked here needs none."""
    return Project(PROJECT, redis_url, tmp_path / "shop.sqlite")


@pytest.fixture
def copied(project: Project, tmp_path: Path) -> Project:
    """The project in a directory of its own, whose files a test may change."""
    shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    return Project(tmp_path / "project", project.env["SHOP_REDIS"], tmp_path / "shop.sqlite")


def start(worker: Callable[..., Worker], project: Project) -> Worker:
    env = {**project.env, "PYTHONPATH": os.pathsep.join((str(project.directory), str(ROOT), *sys.path))}
    return worker("shop", env=env)


# -- a failed task's way


def test_a_failed_task_is_seen_and_put_back(project: Project, worker: Callable[..., Worker]) -> None:
    """Sent on commit, dead in a worker, listed and replayed by manage.py, recovered when its row is right."""
    project.manage("migrate", "--run-syncdb")
    at_work = start(worker, project)
    ids = project.code("""
from django.db import transaction
from orders.models import Order
from orders.tasks import ship
with transaction.atomic():
    orders = [Order.objects.create(address="") for _ in range(3)]
    for order in orders:
        ship.delay_on_commit(order.pk)
found = [order.pk for order in orders]
""")
    assert at_work.wait_log("dead_letter", count=3)
    eventually(lambda: project.json("status")["by_state"]["failed"] == 3, what="three letters")

    listed = project.json("dlq", "list", "--task", "orders.*")["letters"]
    assert {letter["error"]["error_type"] for letter in listed} == {"validation"}
    assert "an order without an address" in project.recovery("dlq", "show", listed[0]["id"]).output

    asked = project.recovery("dlq", "replay", "--task", "orders.*", code=2)
    assert "say --yes" in asked.errors
    project.code(f"from orders.models import Order; found = Order.objects.filter(pk__in={ids}).update(address='Ulm')")
    project.recovery("dlq", "replay", "--task", "orders.*", "--yes")
    eventually(lambda: project.json("status")["by_state"]["recovered"] == 3, what="three recovered letters")
    assert project.json("audit")["entries"][0]["action"] == "replay done"


def test_tasks_of_installed_apps_are_known(project: Project) -> None:
    """Commands that look at the tasks themselves import them, as a worker does."""
    doctor = project.recovery("doctor", "--no-workers", code=None)
    assert "2 tasks: orders.tasks.reserve, orders.tasks.ship" in doctor.output


def test_settings_come_from_django(project: Project) -> None:
    """`CELERY_RECOVERY_…` is read, checked, and a misspelt one refused by its nearest name."""
    found = "from shop.celery import app; from celery_recovery import Recovery; found = Recovery.of(app).settings."
    assert project.code(found + "key_prefix") == "shop"
    project.settings["CELERY_RECOVERY_MAX_CRASHES"] = 7
    project.settings["CELERY_RECOVERY_POLICIES"] = {"network": {"max_attempts": 12}}
    assert project.code(found + "max_crashes") == 7
    course = "policies.course(None, classify(ConnectionResetError())).retry.max_attempts"
    assert project.code(f"from celery_recovery import classify; {found}{course}") == 12
    project.settings["CELERY_RECOVERY_MAX_CRASHS"] = 7
    assert "Did you mean 'recovery_max_crashes'?" in project.recovery("status", code=2).errors


def test_settings_without_a_namespace(copied: Project) -> None:
    """Where Django's settings are Celery's, ours begin with RECOVERY_, and the one that names the app is no setting."""
    module = copied.directory / "shop/celery.py"
    module.write_text(module.read_text("utf-8").replace(', namespace="CELERY"', ""), "utf-8")
    url = copied.env["SHOP_REDIS"]
    copied.settings = {"BROKER_URL": url, "RECOVERY_CELERY_APP": "shop.celery:app", "RECOVERY_KEY_PREFIX": "bare"}
    assert copied.recovery("status").output.startswith("Dead letters of shop")
    found = "from shop.celery import app; from celery_recovery import Recovery; found = Recovery.of(app).settings."
    assert copied.code(found + "key_prefix") == "bare"


# -- the command line


def test_the_same_commands(project: Project) -> None:
    """The help of `celery -A shop recovery` and of its commands is that of `manage.py recovery`."""
    for words in (("dlq", "--help"), ("dlq", "replay", "--help")):
        ours = project.recovery(*words).output
        theirs = project.run("-m", "celery", "-A", "shop", "recovery", *words).output
        assert ours.replace("manage.py recovery", "…").replace("-h, --help", "--help").split() == (
            theirs.replace("python -m celery recovery", "…").split()
        )


def test_help(project: Project) -> None:
    """By --help, -h and `manage.py help`, it lists the commands, the exit codes, and Django's options."""
    told = project.recovery("--help").output
    assert told.startswith("Usage: manage.py recovery [OPTIONS] COMMAND")
    assert "dlq " in told
    assert "130  interrupted" in told
    assert "--settings, --pythonpath" in told
    assert project.recovery("-h").output == project.manage("help", "recovery").output == told
    assert project.run("-m", "django", "help", "recovery", DJANGO_SETTINGS_MODULE="shop.settings").output == (
        told.replace("manage.py", "python -m django")
    )


def test_help_needs_no_app(project: Project) -> None:
    """Nobody has to mend a setting to learn what the commands are."""
    project.settings["RECOVERY_CELERY_APP"] = "nowhere:app"
    assert "Usage: manage.py recovery dlq list" in project.recovery("dlq", "list", "--help").output


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["chekpoints"], 2, "Did you mean one of these?\n    checkpoints"),
        (["dlq", "list", "--jsn"], 2, "No such option"),
        (["dlq", "show", "nothing"], 4, "no dead letter with the id nothing"),
        (["dlq", "list", "--task", "nothing"], 1, "No dead letter matches"),
        (["dlq", "edit", "--set", "args.0=1"], 2, "Usage: manage.py recovery dlq edit"),
    ],
)
def test_exit_codes(project: Project, words: list[str], code: int, told: str) -> None:
    """A sentence on stderr and the code of `celery recovery`; `--set` is not taken for `--settings`."""
    ended = project.recovery(*words, code=code)
    assert told in ended.errors
    assert ended.output == ""


def test_services_away(project: Project) -> None:
    """Code 3, and nothing of celery -A: the app was found."""
    ended = project.recovery("status", code=3, SHOP_REDIS=NOWHERE)
    assert "Redis is away" in ended.errors
    assert "celery -A" not in ended.errors


def test_djangos_options_stand_anywhere(project: Project) -> None:
    """Before and behind our words; they are not ours."""
    before = project.recovery("--settings", "shop.settings", "--no-color", "dlq", "list", "--json", "-n", "5")
    behind = project.recovery("dlq", "list", "--json", "-n", "5", "--settings=shop.settings", "-v0", "--traceback")
    assert json.loads(before.output) == json.loads(behind.output) == {"letters": [], "cursor": None}


def test_verbosity_0_is_quiet(project: Project) -> None:
    """No hints; what the operator must know is told all the same."""
    assert project.recovery("dlq", "list", "-v", "0").errors == ""
    assert project.recovery("dlq", "list").errors != ""


def test_colour(project: Project) -> None:
    """For terminals, and where Django is told to force it; Django's own variable ends it."""
    assert "\x1b[" not in project.recovery("status").output
    assert "\x1b[" in project.recovery("status", "--force-color").output
    told = project.code("""
import os
from celery_recovery.django.management.commands.recovery import _Project
os.environ["DJANGO_COLORS"] = "nocolor"
found = [_Project({}).no_color, _Project({"force_color": True}).no_color]
del os.environ["DJANGO_COLORS"]
found += [_Project({}).no_color, _Project({"no_color": True}).no_color]
""")
    assert told == [True, False, False, True]


def test_traceback(project: Project) -> None:
    """Django's option shows where a command ended."""
    ended = project.recovery("dlq", "show", "nothing", "--traceback", code=1)
    assert "LetterNotFound" in ended.errors


def test_words_behind_two_dashes(project: Project) -> None:
    """They are no options, neither Django's nor ours."""
    ended = project.recovery("dlq", "show", "--", "--traceback", code=4)
    assert "no dead letter with the id --traceback" in ended.errors


# -- from code


def test_call_command(project: Project) -> None:
    """It prints where it is told to, and ends with the exit code in an exception."""
    found = project.code("""
from io import StringIO
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
out, wrapped, err = StringIO(), StringIO(), StringIO()
call_command("recovery", "dlq", "list", "--json", stdout=out, stderr=err)
call_command("recovery", "dlq", ["list", "--json"], stdout=OutputWrapper(wrapped), stderr=err, verbosity=0)
found = {"out": out.getvalue(), "same": out.getvalue() == wrapped.getvalue(), "err": err.getvalue(), "ended": []}
for words in (["dlq", "show", "nothing"], ["chekpoints"], ["dlq", "list", "--task", "nothing"], ["doctor"]):
    try:
        call_command("recovery", *words, stdout=out, stderr=err)
    except CommandError as exc:
        found["ended"].append([str(exc), exc.returncode])
print("not captured")
""")
    assert json.loads(found["out"]) == {"letters": [], "cursor": None}
    assert found["same"]
    assert found["err"].count("no open dead letters") == 1
    misspelt = found["ended"].pop(1)
    assert misspelt[0].startswith("No such command 'chekpoints'.\n\nDid you mean one of these?\n    checkpoints")
    assert misspelt[1] == 2
    assert found["ended"] == [
        ["There is no dead letter with the id nothing.", 4],
        ["No dead letter matches the filter.", 1],
        ["recovery doctor: exit code 7", 7],
    ]


def test_tasks_wait_for_the_transaction(project: Project) -> None:
    """Our base class has what Celery gives to Django's tasks; a rolled back transaction sends nothing."""
    found = project.code("""
from django.db import transaction
from orders.tasks import ship
from shop.celery import app
def waiting():
    with app.connection_for_read() as connection:
        return connection.default_channel.client.llen("celery")
found = []
with transaction.atomic():
    ship.delay_on_commit(1)
    ship.apply_async_on_commit((2,), countdown=0)
    found.append(waiting())
found.append(waiting())
try:
    with transaction.atomic():
        ship.delay_on_commit(3)
        raise KeyError
except KeyError:
    found.append(waiting())
""")
    assert found == [0, 2, 2]


def test_for_all_tasks(copied: Project) -> None:
    """`task_cls` takes the class by its path, before Django is set up."""
    module = copied.directory / "shop/celery.py"
    path = 'Celery("shop", task_cls="celery_recovery.django:RecoverableTask")'
    module.write_text(module.read_text("utf-8").replace('Celery("shop")', path), "utf-8")
    found = copied.code("""
from celery import shared_task
import celery_recovery, celery_recovery.django as ours
@shared_task
def plain(): ...
found = [isinstance(plain, celery_recovery.RecoverableTask), isinstance(plain, ours.RecoverableTask), plain.acks_late]
""")
    assert found == [True, True, True]


# -- the app that is meant


def test_the_app_is_found_beside_the_settings(copied: Project) -> None:
    """In `celery.py`, or anywhere in the package itself; from nested settings, too; else from where the URLs are."""
    shop = copied.directory / "shop"
    assert copied.recovery("status").output.startswith("Dead letters of shop")

    (shop / "celery.py").rename(shop / "celery_app.py")
    (shop / "__init__.py").write_text("from shop.celery_app import app as celery_app\n", "utf-8")
    (shop / "conf").mkdir()
    (shop / "settings.py").rename(shop / "conf/production.py")
    settings = "--settings=shop.conf.production"
    assert copied.recovery("status", settings).output.startswith("Dead letters of shop")

    (shop / "conf/production.py").rename(copied.directory / "production.py")
    assert copied.recovery("status", "--settings=production").output.startswith("Dead letters of shop")


def test_a_project_without_an_app(copied: Project) -> None:
    """The error names the setting, what it expects, and where it was looked for; `check` warns."""
    (copied.directory / "shop/celery.py").unlink()
    (copied.directory / "shop/__init__.py").write_text("", "utf-8")
    told = "RECOVERY_CELERY_APP: expected a path such as 'shop.celery:app' (no Celery app was found in shop), got None."
    assert copied.recovery("status", code=2).errors.strip() == f"Error: {told}"
    checked = copied.manage("check").errors
    assert told in checked
    assert "celery_recovery.W001" in checked
    assert copied.manage("check", "--tag", "models").errors == ""


def test_a_setting_that_names_no_app(project: Project) -> None:
    """The error says what was given and what became of it; `check` fails."""
    project.settings["RECOVERY_CELERY_APP"] = "nowhere.celery:app"
    told = "RECOVERY_CELERY_APP: expected the path of a Celery app, such as 'shop.celery:app', got "
    assert f"Error: {told}'nowhere.celery:app'. ModuleNotFoundError" in project.recovery("status", code=2).errors
    assert "celery_recovery.E001" in project.manage("check", code=1).errors
    found = project.code("""
from django.core.management import CommandError, call_command
from django.test import override_settings
found = []
for given in ("shop.celery:missing", "shop.urls:urlpatterns", "", 7):
    with override_settings(RECOVERY_CELERY_APP=given):
        try:
            call_command("recovery", "status")
        except CommandError as exc:
            found.append([str(exc), exc.returncode])
""")
    assert [code for _, code in found] == [2, 2, 2, 2]
    missing, no_app, empty, number = [text.replace(f"Error: {told}", "") for text, _ in found]
    assert missing == "'shop.celery:missing'. AttributeError: module 'shop.celery' has no attribute 'missing'."
    assert no_app == "'shop.urls:urlpatterns'. There is a list."
    assert empty.startswith("''. ValueError")
    assert number.startswith("7.")


def test_an_app_whose_module_is_broken(copied: Project) -> None:
    """Its own error is told, and not that there is none."""
    (copied.directory / "shop/__init__.py").write_text("", "utf-8")
    (copied.directory / "shop/celery.py").write_text("import not_installed\n", "utf-8")
    told = copied.recovery("status", code=2).errors
    assert "got 'shop.celery'. ModuleNotFoundError: No module named 'not_installed'." in told


def test_the_setting_names_another_app(copied: Project) -> None:
    """With or without the attribute, as `celery -A`."""
    (copied.directory / "other.py").write_text(
        "import os\nfrom celery import Celery\napp = Celery('other', broker=os.environ['SHOP_REDIS'])\n", "utf-8"
    )
    for path in ("other", "other:app"):
        copied.settings["RECOVERY_CELERY_APP"] = path
        assert copied.recovery("status").output.startswith("Dead letters of other")


# -- system checks


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, None),
        ({"CELERY_BROKER_URL": "amqp://nowhere", "CELERY_RESULT_BACKEND": None}, "W002"),
        ({"CELERY_RECOVERY_MAX_CRASHES": 0}, "E002"),
        ({"CELERY_RECOVERY_RULES": ["nowhere.rule"]}, "E002"),
        ({"RECOVERY_REDIS_URL": "redis://elsewhere"}, "W003"),
        ({"RECOVERY_OF_OUR_OWN": 1}, None),
    ],
)
def test_system_checks(project: Project, settings: dict[str, Any], found: str | None) -> None:
    """No store, settings that make no sense, settings without the namespace. No server is asked."""
    project.settings = settings
    code = 1 if found and found.startswith("E") else 0
    told = project.manage("check", code=code, **({} if settings.get("CELERY_BROKER_URL") else {"SHOP_REDIS": NOWHERE}))
    assert re.findall(r"celery_recovery\.(\w+)", told.errors) == ([found] if found else [])
    assert found != "W003" or "Write CELERY_RECOVERY_REDIS_URL." in told.errors


def test_commands_run_in_spite_of_system_checks(project: Project) -> None:
    """An operator is not kept from the letters by what is wrong elsewhere."""
    project.settings["CELERY_RECOVERY_LEASE"] = 1
    project.manage("check", code=1)
    assert "recovery_lease: expected" in project.recovery("status", code=2).errors
    project.settings = {"INSTALLED_APPS": ["celery_recovery.django", "orders"], "ROOT_URLCONF": "missing"}
    project.recovery("status")


# -- only here


def test_nothing_else_imports_django() -> None:
    """Celery runs without Django; only `celery_recovery/django` may know it."""
    package = ROOT / "celery_recovery"
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        inside = path.is_relative_to(package / "django")
        foreign = [
            name for name in named if re.match(r"(django|celery\.contrib\.django|celery_recovery\.django)\b", name)
        ]
        assert inside or not foreign, path
