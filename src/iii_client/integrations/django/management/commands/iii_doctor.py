"""`manage.py iii_doctor`: what is configured, reachable and fresh, and what to do about the rest."""

from iii_client.integrations.django.management.commands.iii import Command as Client


class Command(Client):
    """`iii-client doctor`."""

    help = "Says what is configured, reachable and fresh, and what to do about the rest (--json)"
    prefix = ("doctor",)
