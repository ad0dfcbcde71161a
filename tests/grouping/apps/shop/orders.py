def greeting(order):  # seam
    customer = order["customer"]
    title = order["salutation"]["title"]
    return f"Dear {title} {customer['name'].strip()}"


def label(order):  # seam
    lines = [order["number"]]
    lines.append(order.get("street").upper())
    lines.append(order.get("city").upper())
    lines.append("Parcels: " + order["parcels"])
    return "\n".join(lines)
