import smtplib
from email.headerregistry import Address


class MailNotSent(Exception):
    pass


def _deliver(host, port, name, subject):
    try:
        with smtplib.SMTP(host, port, timeout=2) as server:
            server.sendmail("us@shop.example", [name], subject)
    except OSError as exc:
        raise MailNotSent(f"mail to {name} was not sent by {host}:{port}") from exc


def welcome(host, port, name):  # seam
    _deliver(host, port, name, "Welcome")


def goodbye(host, port, name):  # seam
    _deliver(host, port, name, "Goodbye")


def sender(text):  # seam
    return Address(addr_spec=text)
