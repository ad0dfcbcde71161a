import tenacity


class Busy(Exception):
    pass


class Unanswered(Exception):
    pass


def _line(text):
    if text.endswith("?"):
        raise Busy(f"line is busy, {len(text)} characters wait")
    raise ValueError(f"cannot say {text}")


@tenacity.retry(stop=tenacity.stop_after_attempt(2))
def ask(question):  # seam
    return _line(question)


def tell(statement):  # seam
    return tenacity.Retrying(stop=tenacity.stop_after_attempt(3))(_line, statement)


def ask_patiently(question):  # seam
    errors = []
    for _ in range(3):
        try:
            return _line(question)
        except Busy as exc:
            errors.append(exc)
    raise Unanswered(f"no answer to {question} after {len(errors)} attempts") from errors[-1]
