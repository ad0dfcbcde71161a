"""The *Recovery* tab of Flower: `celery -A app recovery flower`, or two lines in `flowerconfig.py`.

    from celery_recovery.flower import install
    install()

Flower 2.0, 2.1 and 2.2. Its login, its read-only mode and `url_prefix` hold for our pages as they do for its own; what
changes anything asks for a login even where Flower itself would not (see `access.py`).
"""

from celery_recovery.flower.application import install

__all__ = ("install",)
