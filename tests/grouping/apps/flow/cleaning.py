"""Errors while others are being handled."""


class Refused(Exception):
    pass


class Draft:
    def __init__(self, document):
        self.document = document

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.document["lock"].release()


def _moods(mood):
    return {
        "timeout": TimeoutError("timed out"),
        "refused": ConnectionRefusedError(111, "Connection refused"),
        "value": ValueError("bad value"),
        "refusal": Refused("no"),
    }[mood]


def _upload(document, mood):
    raise _moods(mood)


def publish(document, mood):  # seam
    try:
        _upload(document, mood)
    except Exception:
        document["attempts"] += 1
        document["errors"].append(mood)
        raise


def withdraw(document, mood):  # seam
    with Draft(document):
        _upload(document, mood)


def replaced(document):  # seam
    try:
        return document["pages"][0]
    except KeyError:
        raise Refused(f"document {document['title']} has no pages") from None
