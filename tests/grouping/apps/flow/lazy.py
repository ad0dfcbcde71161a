def _cleaned(rows):
    for row in rows:
        yield row.strip()


def _numbered(rows):
    for row in rows:
        name, number = row.split(":")
        yield name, int(number)


def _positive(pairs):
    return (pair for pair in pairs if pair[1] / abs(pair[1]) > 0)


def pipeline(rows):  # seam
    return dict(_positive(_numbered(_cleaned(rows))))


def averages(rows):  # seam
    return [sum(row) / len(row) for row in rows]


def _first(rows):
    for row in rows:
        if row:
            yield row
    yield next(iter(rows[:0]))


def first(rows):  # seam
    return list(_first(rows))
