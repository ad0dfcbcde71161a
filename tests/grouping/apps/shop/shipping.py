from shop.http_client import client


def track(url):  # seam
    page = client.get_page(url)
    return page.split("status:")[1]
