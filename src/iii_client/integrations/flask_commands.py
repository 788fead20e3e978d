"""`flask iii …`: what an operator needs under the settings of the application.

    flask iii status          the installed filter, and what waits for the service
    flask iii update          bring the filter up to date, if it is due; for a timer
    flask iii drain           ask about what waits, and tell the application

Everything else is in `iii-client`, which reads `III_*` variables and not `app.config`.
"""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup

from iii_client.config import Config
from iii_client.drain import Drainer
from iii_client.errors import FilterError, IIIError, RecordError
from iii_client.model import LateAnswer
from iii_client.notify import CallbackCourier
from iii_client.parts import Parts
from iii_client.records.alarms import raise_alarm
from iii_client.records.outbox_list import count_outbox
from iii_client.updates import Updater

#: Seconds between two looks of `drain --watch` at an outbox that was empty, or a database that was away.
WATCH_S = 5.0


class _Problem(click.ClickException):
    """An error of ours, as one line with what to do, and no traceback."""

    def __init__(self, error: IIIError) -> None:
        super().__init__(f"{error}. {error.hint}".strip())


def commands(config: Callable[[], Config], on_late_answer: Callable[[LateAnswer], object] | None) -> AppGroup:
    """The group for one application.

    Args:
        config: reads its configuration.
        on_late_answer: is told of late answers.
    """
    group = AppGroup("iii", help="Uploads that are checked against the filter of known material.")
    as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")

    @group.command("status")
    @as_json
    def status(as_json: bool) -> None:
        """The installed filter, and what waits for the service."""
        with_state = Parts.from_config(config())
        try:
            membership = with_state.filters.current()
            state, release = membership.freshness.value, str(membership.release)
        except FilterError:
            state, release = "none", "none"
        try:
            with with_state.store.reading() as tx:
                waiting = count_outbox(tx, now=datetime.now(UTC))
        except RecordError as error:
            raise _Problem(error) from error
        _say(
            {
                "mode": with_state.config.mode.value,
                "filter": state,
                "release": release,
                "pending": waiting.pending,
                "for_review": waiting.for_review,
            },
            as_json=as_json,
        )
        if state == "none":
            raise SystemExit(3)

    @group.command("update")
    @click.option("--if-due", is_flag=True, help="Only when the schedule says so: for timers.")
    @as_json
    def update(if_due: bool, as_json: bool) -> None:
        """Download what is new of the filter, verify it, and install it."""
        settings = config()
        try:
            updater = Updater(settings.filter, settings.state_dir, alarm=_alarm_of(settings))
            report = updater.update_if_due() if if_due else updater.update()
        except IIIError as error:
            raise _Problem(error) from error
        if report is None:
            _say({"due": False}, as_json=as_json)
        else:
            _say({"release": str(report.release), "changed": report.changed}, as_json=as_json)

    @group.command("drain")
    @click.option("--watch", is_flag=True, help="Go on until interrupted: as a service.")
    @as_json
    def drain(watch: bool, as_json: bool) -> None:
        """Ask about what waits for the service, and tell the application of the answers."""
        couriers = [CallbackCourier(on_late_answer)] if on_late_answer is not None else []
        drainer = Drainer.from_config(config(), couriers=couriers)
        stop = threading.Event()
        while True:
            try:
                report = drainer.run_until_empty(stop=stop)
            except RecordError as error:
                if not watch:
                    raise _Problem(error) from error
                click.echo(f"{error}. {error.hint}", err=True)
            else:
                if not watch or report.asked:
                    _say(
                        {
                            "asked": report.asked,
                            "matched": report.matched,
                            "not_listed": report.not_listed,
                            "notices": report.notices.delivered,
                        },
                        as_json=as_json,
                    )
            if not watch:
                return
            stop.wait(WATCH_S)

    return group


def _alarm_of(config: Config) -> Callable[[str, str], None]:
    """Keeps the updater's alarms with all others. Never fails: the update's own error must be seen."""

    def alarm(kind: str, detail: str) -> None:
        try:
            with Parts.from_config(config).store.transaction() as tx:
                raise_alarm(tx, kind, detail, now=datetime.now(UTC))
        except RecordError as error:
            click.echo(f"the alarm could not be recorded: {error}", err=True)

    return alarm


def _say(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts))
    else:
        click.echo(" · ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()))
