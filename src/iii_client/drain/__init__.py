"""Drains the outbox: asks later what could not be asked in time, and sees to what follows from the answers.

Drainer.from_config(config).run_until_empty()        a cron job, `iii-client outbox drain`
drainer.run_in_background()                          a thread of the application
"""

from iii_client.drain.background import BackgroundDrainer
from iii_client.drain.drainer import Drainer
from iii_client.drain.report import DrainReport

__all__ = ["BackgroundDrainer", "DrainReport", "Drainer"]
