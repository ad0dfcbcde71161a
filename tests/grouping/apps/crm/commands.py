"""Classes whose methods share their names."""


class Exporter:
    def run(self, data):
        return self.write(self.check(data))

    def check(self, data):
        return data

    def write(self, data):
        raise NotImplementedError


class CsvExporter(Exporter):
    def check(self, data):
        return [row["columns"] for row in data]


class PdfExporter(Exporter):
    def check(self, data):
        return [row["columns"] for row in data]


class MailExporter(Exporter):
    pass


EXPORTERS = {"csv": CsvExporter, "pdf": PdfExporter, "mail": MailExporter}


def export(kind, data):  # seam
    return EXPORTERS[kind]().run(data)


def _positive(number):
    if number <= 0:
        raise ValueError(f"number {number} must be positive")
    return number


class Raise:
    def __call__(self, payload):
        return payload["salary"] * _positive(payload["percent"])


class Promote:
    def __call__(self, payload):
        return _positive(payload["level"])


class Fire:
    def __init__(self):
        self.reasons = {}

    def __call__(self, payload):
        return self.reasons[payload["reason"]].format(payload)


COMMANDS = {"raise": Raise(), "promote": Promote(), "fire": Fire()}


def run(name, payload):  # seam
    return COMMANDS[name](payload)
