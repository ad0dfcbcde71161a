class PartBroken(Exception):
    pass


class PartMissing(Exception):
    pass


def _deliver(part):
    if part.startswith("x"):
        raise PartBroken(f"part {part} is broken")
    if part.startswith("m"):
        raise PartMissing(f"part {part} is missing")
    return part


def _all(parts):
    errors = []
    for part in parts:
        try:
            _deliver(part)
        except Exception as exc:  # noqa: BLE001
            errors.append(exc)
    return errors


def deliver(parts):  # seam
    errors = _all(parts)
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(parts)} parts failed", errors)  # noqa: F821


def deliver_mixed(parts):  # seam
    errors = _all(parts)
    raise ExceptionGroup("delivery", [ExceptionGroup("parts", errors)])  # noqa: F821
