"""Write many class names with one answer, for families that know dozens of small libraries."""

from __future__ import annotations

from celery_recovery.errors.rules.rule import Look, Verdict

__all__ = ("exactly", "within")


def within(packages: str, names: str, answer: Verdict | Look) -> dict[str, Verdict | Look]:
    """`{"package.*.Name": answer}` for every name in every package (both separated by blanks).

    The star stands for any module of the package: libraries move their exceptions between private modules.
    """
    return {f"{package}.*.{name}": answer for package in packages.split() for name in names.split()}


def exactly(names: str, answer: Verdict | Look) -> dict[str, Verdict | Look]:
    """`{"package.module.Name": answer}` for full names separated by blanks, where bare names are not distinct."""
    return dict.fromkeys(names.split(), answer)
