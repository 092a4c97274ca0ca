"""`celery -A chaos.celery_worker worker`: the product's worker, whose messages may go astray."""

from __future__ import annotations

import os

from app.engines.celery import app
from chaos.brokers import DELIVERY, delivered

delivered(os.environ.get(DELIVERY, "once")).__enter__()  # for as long as the process lives

__all__ = ["app"]
