"""How our pages come into Flower, which has no interface for that: its class is replaced by a subclass.

Only `flower.command.Flower`, looked up when the command runs, is touched; the rest is Tornado's own: more handlers,
and a template loader that knows our templates beside Flower's.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import flower.command  # type: ignore[import-untyped]
import tornado.template
from flower.app import Flower  # type: ignore[import-untyped]
from tornado.web import url

from celery_recovery.exceptions import RecoveryError
from celery_recovery.flower import acting, asking, circuits, grouped, operations, overview, pages, reporting
from celery_recovery.flower.metrics import Exported
from celery_recovery.recovery import Recovery
from celery_recovery.worker.operating import Operator

__all__ = ("RecoveryFlower", "install")

logger = logging.getLogger("celery_recovery")

_MODULES: Any = (overview, pages, grouped, circuits, operations, asking, acting, reporting)
_TEMPLATES = Path(__file__).parent / "templates"
_BROKER_TAB = re.compile(r"<li\b(?:(?!</li>).)*?reverse_url\(\s*['\"]broker['\"]\s*\)(?:(?!</li>).)*?</li>", re.DOTALL)


class RecoveryFlower(Flower):  # type: ignore[misc]  # Flower is untyped
    """Flower with one tab more."""

    operator: Operator | None = None
    exported: Exported | None = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("template_loader", _loader(Path(settings["template_path"])))
        settings.setdefault("xsrf_cookie_kwargs", {"samesite": "Lax"})
        super().__init__(*args, **settings)
        prefix = f"/{self.options.url_prefix.strip('/')}" if self.options.url_prefix else ""
        self.add_handlers(
            r".*",
            [
                url(f"{prefix}/recovery{path}", handler, name=name)
                for module in _MODULES
                for path, handler, name in module.PAGES
            ],
        )

    def start(self) -> None:
        """Run what people ask for on the pages, as every worker does."""
        try:
            recovery = Recovery.of(self.capp)
            if recovery.store is not None:
                self.exported = Exported(recovery.fleet_reader())
            if recovery.store is not None and recovery.settings.run_operations and recovery.role == "operate":
                self.operator = Operator(recovery.dead_letters)
                self.operator.start()
        except RecoveryError as exc:  # the pages say so, too
            logger.warning("Flower runs no operations: %s", exc, extra={"action": "flower_without_operator"})
        super().start()

    def stop(self) -> None:
        """End in order: the operation that is running is left after its batch, and a worker goes on."""
        if self.operator is not None:
            self.operator.stop()
        if self.exported is not None:
            self.exported.end()
        super().stop()


def install() -> None:
    """Put the Recovery tab into the Flower that is about to start; for `flowerconfig.py`. Safe to repeat."""
    if not issubclass(flower.command.Flower, RecoveryFlower):
        flower.command.Flower = RecoveryFlower


def _loader(flowers: Path) -> tornado.template.BaseLoader:
    """Flower's templates and ours; its navigation bar with our tab behind the one of the broker."""
    sources = {path.name: path.read_text("utf-8") for place in (flowers, _TEMPLATES) for path in place.glob("*.html")}
    sources["navbar.html"] = _with_tab(sources["navbar.html"])
    return tornado.template.DictLoader(sources)


def _with_tab(navbar: str) -> str:
    """A copy of the broker's tab, which has the markup of this version of Flower."""
    found = _BROKER_TAB.search(navbar)
    if found is None:
        logger.warning(
            "this Flower has no place for a tab; the pages are at /recovery", extra={"action": "flower_without_tab"}
        )
        return navbar
    tab = re.sub(r"(['\"])broker\1", r"\1recovery\1", found[0]).replace(">Broker<", ">Recovery<")
    return navbar[: found.end()] + tab + navbar[found.end() :]
