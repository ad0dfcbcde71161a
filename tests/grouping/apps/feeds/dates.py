from datetime import date, datetime


def _parsed(text, form):
    return datetime.strptime(text, form)  # noqa: DTZ007


def opened_on(text):  # seam
    return _parsed(text, "%Y-%m-%d").date()


def closed_on(text):  # seam
    return _parsed(text, "%Y-%m-%d").date()


def delivered_at(text):  # seam
    day, _, hour = text.partition(" ")
    return datetime.fromisoformat(hour) if "T" in hour else date.fromisoformat(day)
