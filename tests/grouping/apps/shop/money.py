from decimal import Decimal, InvalidOperation


class BadAmount(ValueError):
    pass


def amount(text):
    try:
        return Decimal(text.replace(",", "."))
    except InvalidOperation:
        raise BadAmount(f"not an amount: {text!r}") from None
