"""Tasks that `autodiscover_tasks` finds."""

from celery import shared_task

from celery_recovery.django import RecoverableTask
from orders.models import Order


@shared_task(base=RecoverableTask)
def ship(order_id: int) -> str:
    """Ship an order; one without an address cannot be shipped."""
    order = Order.objects.get(pk=order_id)
    if not order.address:
        raise ValueError("an order without an address")
    return order.address


@shared_task(base=RecoverableTask, circuit="warehouse")
def reserve(order_id: int) -> int:
    """Says that the circuit is there."""
    return order_id
