"""Tells the application what happened after an upload was decided: late answers and alarms.

Notices are rows (`records/notices.py`), committed with what they are about; here they are delivered at least
once, each with an id that stays the same.
"""

from iii_client.notify.callback import CallbackCourier
from iii_client.notify.delivery import Delivery, DeliveryReport
from iii_client.notify.webhook import WebhookCourier, make_couriers

__all__ = ["CallbackCourier", "Delivery", "DeliveryReport", "WebhookCourier", "make_couriers"]
