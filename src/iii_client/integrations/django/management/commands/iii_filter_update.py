"""`manage.py iii_filter_update`: bring the signed filter up to date. For a timer, with `--if-due`."""

from iii_client.integrations.django.management.commands.iii import Command as Client


class Command(Client):
    """`iii-client filter update`."""

    help = "Brings the signed filter up to date (--if-due for timers, --json)"
    prefix = ("filter", "update")
