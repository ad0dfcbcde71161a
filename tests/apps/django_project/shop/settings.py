"""A project with one application, a SQLite file and a Redis. Tests change settings by JSON in SHOP_SETTINGS."""

import json
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["celery_recovery.django", "orders"]
ROOT_URLCONF = "shop.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DATABASE", ":memory:")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

CELERY_BROKER_URL = os.environ.get("SHOP_REDIS", "redis://localhost")
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_RECOVERY_KEY_PREFIX = "shop"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

globals().update(json.loads(os.environ.get("SHOP_SETTINGS", "{}")))
