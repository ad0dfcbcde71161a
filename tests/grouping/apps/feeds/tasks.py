"""Jobs that read what others deliver."""

from feeds import archives, dates, documents, files, models, records, stock, tables


def load_catalogue(path):
    return documents.catalogue(path)


def load_prices(path):
    return documents.prices(path)


def load_settings(path):
    return documents.settings(path)


def load_menu(path):
    return documents.menu(path)


def stock_levels(path):
    return stock.levels(path)


def stock_values(path):
    return stock.values(path)


def columns(path):
    return tables.columns(path)


def read_names(path):
    return tables.names(path)


def manifest(path):
    return files.manifest(path)


def thumbnail(path):
    return files.thumbnail(path)


def archive(folder, name):
    return files.archive(folder, name)


def unpack(path):
    return archives.unpack(path)


def inflate(path):
    return archives.inflate(path)


def member(path, name):
    return archives.member(path, name)


def validate_order(data):
    return models.order(data)


def validate_address(data):
    return models.address(data)


def opened_on(text):
    return dates.opened_on(text)


def closed_on(text):
    return dates.closed_on(text)


def delivered_at(text):
    return dates.delivered_at(text)


def check_record(record):
    return records.check(record)


def check_ids(ids):
    return records.check_ids(ids)


def check_answer(answer):
    return records.check_answer(answer)


def check_blob(blob):
    return records.check_blob(blob)


def check_entity(name, number):
    return records.check_entity(name, number)


def check_window(start, end):
    return records.check_window(start, end)


def check_rates(rates):
    return records.check_rates(rates)
