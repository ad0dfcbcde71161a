"""Jobs around people, what they may do, and what is stored about them."""

from crm import accounts, cache, calendars, commands, letters, mailing, people, plugins, sessions


def add_person(email, name):
    return people.add(email, name)


def add_team(title, boss):
    return people.add_team(title, boss)


def find_person(email):
    return people.find(email)


def find_team(title):
    return people.find_team(title)


def search_people(term):
    return people.search(term)


def search_teams(term):
    return people.search_teams(term)


def report(column):
    return people.report(column)


def log_in(name, token):
    return sessions.log_in(name, token)


def touch(token):
    return sessions.touch(token)


def export(kind, data):
    return commands.export(kind, data)


def command(name, payload):
    return commands.run(name, payload)


def letter(template, values):
    return letters.render(template, values)


def invoice_letter(values):
    return letters.invoice(values)


def reminder(values):
    return letters.reminder(values)


def profile(address, key):
    return cache.profile(address, key)


def basket(address, key):
    return cache.basket(address, key)


def send_welcome(host, port, name):
    return mailing.welcome(host, port, name)


def send_goodbye(host, port, name):
    return mailing.goodbye(host, port, name)


def parse_sender(text):
    return mailing.sender(text)


def appointment(person, day):
    return calendars.appointment(person, day)


def holiday(person, day):
    return calendars.holiday(person, day)


def plug(name, options):
    return plugins.start(name, options)


def open_account(owner, kind):
    return accounts.open_account(owner, kind)


def transfer(source, target, amount):
    return accounts.transfer(source, target, amount)
