from pydantic import BaseModel, field_validator


class Line(BaseModel):
    sku: str
    quantity: int


class Order(BaseModel):
    number: int
    customer: str
    lines: list[Line]
    coupon: str | None = None

    @field_validator("coupon")
    @classmethod
    def _coupon(cls, value):
        if value is not None and not value.startswith("C-"):
            raise ValueError(f"coupon {value} has expired")
        return value


class Address(BaseModel):
    street: str
    postcode: str


def order(data):  # seam
    return Order.model_validate(data)


def address(data):  # seam
    return Address(**data)
