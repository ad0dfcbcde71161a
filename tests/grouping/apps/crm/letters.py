from string import Template


class Values(dict):
    def __missing__(self, key):
        raise LookupError(f"letter needs {key}, has {sorted(self)}")


def render(template, values):  # seam
    return template.format(**values)


def invoice(values):  # seam
    filled = Values(values)
    return f"Invoice {filled['number']} of {filled['date']}"


def reminder(values):  # seam
    return Template("Dear $name, you owe us $total").substitute(values)
