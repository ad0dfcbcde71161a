"""Jobs of a small shop."""

from shop import catalogue, customers, invoices, ledger, orders, payments, shipping


def import_customer(url):
    return customers.refresh(url)


def import_invoice(url):
    return invoices.fetch(url)


def track_parcel(url):
    return shipping.track(url)


def charge(payload):
    return payments.charge(payload)


def refund(payload):
    return payments.refund(payload)


def settle(account, provider):
    return payments.settle(account, provider)


def price_basket(skus):
    return catalogue.price_basket(skus)


def greet(order):
    return orders.greeting(order)


def label(order):
    return orders.label(order)


def reserve(product, amount):
    return catalogue.reserve(product, amount)


def assign(name, role):
    return customers.assign(name, role)


def close_account(name):
    return customers.close(name)


def register(email, name):
    return ledger.add_customer(email, name)


def book(number, total):
    return ledger.add_order(number, total)


def rename(email, name):
    return ledger.rename_customer(email, name)


def monthly(month):
    return ledger.monthly_report(month)


def yearly(year):
    return ledger.yearly_report(year)


def invoice_total(lines):
    return invoices.total(lines)


def refund_total(text):
    return invoices.refunded(text)


def discount(lines):
    return invoices.discount(lines)
