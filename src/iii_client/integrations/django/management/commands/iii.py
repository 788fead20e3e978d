"""`manage.py iii …`: any command of `iii-client`, with the settings of this project."""

import sys
from argparse import REMAINDER
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from iii_client.errors import IIIError
from iii_client.integrations.django.bridge import run_client


class Command(BaseCommand):
    """Exit codes are those of `iii-client`."""

    help = "Runs iii-client with the settings of this project: manage.py iii review list"
    #: Whoever repairs a setting must not be stopped by it.
    requires_system_checks = ()
    #: Arguments that come before the operator's.
    prefix: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("arguments", nargs=REMAINDER, help="As for iii-client.")

    def run_from_argv(self, argv: list[str]) -> None:
        """What follows the command's name is iii-client's, options included."""
        self.stdout.flush()
        sys.exit(self.run(argv[2:]))

    def handle(self, *_: Any, **options: Any) -> None:
        """For `call_command`.

        Raises:
            CommandError: it ended with another code than 0, which is its `returncode`.
        """
        if code := self.run(options["arguments"]):
            raise CommandError(f"iii-client ended with {code}", returncode=code)

    def run(self, arguments: list[str]) -> int:
        """Run it and return its exit code."""
        try:
            return run_client([*self.prefix, *arguments])
        except IIIError as error:
            self.stderr.write(f"{error} {error.hint}".strip())
            return 2
