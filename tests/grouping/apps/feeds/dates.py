from datetime import date, datetime


def _parsed(text, form):
    return datetime.strptime(text, form)


def opened_on(text):  # seam
    return _parsed(text, "%Y-%m-%d").date()


def closed_on(text):  # seam
    return _parsed(text, "%Y-%m-%d").date()


def delivered_at(text):  # seam
    day, _, hour = text.partition(" ")
    moment = datetime.fromisoformat(hour) if "T" in hour else date.fromisoformat(day)
    return moment
