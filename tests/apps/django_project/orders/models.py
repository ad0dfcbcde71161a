"""One table."""

from django.db import models


class Order(models.Model):
    """Something to be shipped."""

    address = models.CharField(max_length=100)
