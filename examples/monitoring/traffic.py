"""Sends the shop's tasks at a steady rate until it is ended: `python traffic.py [ORDERS PER SECOND]`."""

from __future__ import annotations

import itertools
import random
import sys
import time

from shop import charge, import_customers, print_label, send_mail

#: Seconds between two imports.
IMPORTS = 120


def main() -> None:
    """An order is a payment and a mail; one in twenty needs a label, and one in three of these is from Europe."""
    pause = 1 / float(sys.argv[1] if len(sys.argv) > 1 else 4)
    next_import = time.monotonic()
    for order in itertools.count(1):
        charge.delay(order)
        send_mail.delay(order)
        if random.random() < 0.05:
            print_label.delay(order, random.choice(("us", "apac", "eu")))
        if time.monotonic() >= next_import:
            next_import += IMPORTS
            import_customers.delay(order)
        time.sleep(pause)


if __name__ == "__main__":
    main()
