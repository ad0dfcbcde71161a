class OutOfStock(Exception):
    def __init__(self, product, left):
        super().__init__(product, left)
        self.product = product
        self.left = left

    def __str__(self):
        return f"only {self.left} of {self.product} left"


PRICES = {"A-1": 10, "A-2": 12}
STOCK = {"lamp": 3, "blue chair": 1, "table": 0}


def price_basket(skus):  # seam
    return sum(_price(sku) for sku in skus)


def _price(sku):
    return PRICES[sku]


def reserve(product, amount):  # seam
    left = STOCK.get(product)
    if left is None:
        raise ValueError("no such product: " + product)
    if left < amount:
        raise OutOfStock(product, left)
    STOCK[product] -= amount
