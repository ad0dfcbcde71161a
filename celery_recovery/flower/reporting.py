"""The report of a period, as the page that `recovery report` writes: to be looked at, kept or printed."""

from __future__ import annotations

from celery_recovery.flower.access import Page
from celery_recovery.report.page import POLICY, page

__all__ = ("PAGES",)


class ReportPage(Page):
    """`?since=7d&until=…&task=…`, as on the command line. It is no page of Flower's: it loads nothing."""

    async def get(self) -> None:
        await self.connect()
        since, until, tasks = self.one("since", "24h"), self.one("until") or None, self.given("task")
        report = await self.aside(self.recovery.report, since, until, tasks=[task for task in tasks if task])
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", POLICY)
        self.write(page(report))


PAGES = ((r"/report", ReportPage, "recovery-report"),)
