"""The Celery app of a Django project: named by a setting, or where Celery's guide for Django puts it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from celery import Celery
from celery.app.utils import find_app
from celery.utils.imports import symbol_by_name
from django.conf import settings

from celery_recovery.exceptions import ConfigurationError

__all__ = ("SETTING", "celery_app")

#: The Django setting with the app's path, as `celery -A` takes it, or the app itself.
SETTING = "RECOVERY_CELERY_APP"


def celery_app() -> Celery:
    """The app that `RECOVERY_CELERY_APP` names; without it the one of the project's package.

    That is, for the settings `shop.settings` and the URLs `shop.urls`: what `celery -A shop` finds, `shop.celery:app`
    or a Celery app in `shop` itself. Raises `ConfigurationError`, also where its module cannot be imported.
    """
    given = getattr(settings, SETTING, None)
    if isinstance(given, Celery):
        return given
    if given is not None:
        return _at(given)
    looked_in = list(dict.fromkeys(_packages()))
    for package in looked_in:
        place = _place(package)
        if place is not None:
            return _at(place)
    places = f"no Celery app was found in {' or '.join(looked_in)}" if looked_in else "the project has no package"
    raise ConfigurationError.of(SETTING, expected=f"a path such as 'shop.celery:app' ({places})", got=None)


def _packages() -> Iterator[str]:
    """The packages around the settings and the URLs, the innermost first."""
    for module in (settings.SETTINGS_MODULE, getattr(settings, "ROOT_URLCONF", None)):
        package = module if isinstance(module, str) else ""
        while package := package.rpartition(".")[0]:
            yield package


def _place(package: str) -> str | None:
    """Where in this package the app must be; None: not here. A module that fails while it is imported is a place."""
    try:
        if find_spec(f"{package}.celery"):
            return f"{package}.celery"
        return package if isinstance(find_app(package), Celery) else None
    except Exception:  # noqa: BLE001  # the package is the user's, and only a guess of ours
        return None


def _at(path: str) -> Celery:
    """The app at this path. Raises `ConfigurationError` with what the import says."""
    expected = "the path of a Celery app, such as 'shop.celery:app'"
    try:
        found = symbol_by_name(path) if ":" in str(path) else find_app(path)
    except Exception as exc:  # a module of the user's may fail in any way while it is imported
        hint = f"{type(exc).__name__}: {exc}."
        raise ConfigurationError.of(SETTING, expected=expected, got=path, hint=hint) from exc
    if isinstance(found, Celery):
        return found
    raise ConfigurationError.of(SETTING, expected=expected, got=path, hint=f"There is a {type(found).__name__}.")
