"""Notices as calls of functions in this process."""

from collections.abc import Callable

from iii_client.errors import NotifyError
from iii_client.model import AlarmRaised, LateAnswer, Notice, NoticeKind


class CallbackCourier:
    """Calls the application's own functions. Fits `protocols.Courier`.

    A function that returns has taken the notice; one that raises gets it again later, with growing pauses.
    The same notice may come twice, also in another process: make the function idempotent.

    Args:
        on_late_answer: takes a late answer.
        on_alarm: takes an alarm; without it, alarms are left to other couriers.
    """

    def __init__(
        self,
        on_late_answer: Callable[[LateAnswer], object],
        *,
        on_alarm: Callable[[AlarmRaised], object] | None = None,
    ) -> None:
        self._on_late_answer = on_late_answer
        self._on_alarm = on_alarm

    @property
    def kinds(self) -> frozenset[NoticeKind]:
        """Late answers, and alarms if there is a function for them."""
        alarms = () if self._on_alarm is None else (NoticeKind.ALARM,)
        return frozenset({NoticeKind.LATE_ANSWER, *alarms})

    def deliver(self, notice: Notice) -> None:
        """Call the function. See `protocols.Courier`."""
        try:
            match notice.message:
                case LateAnswer() as answer:
                    self._on_late_answer(answer)
                case AlarmRaised() as alarm if self._on_alarm is not None:
                    self._on_alarm(alarm)
        except Exception as error:
            # The boundary to somebody else's code, whose words may quote anything.
            raise NotifyError(
                f"the application's own function raised {type(error).__name__}",
                hint="It gets the same notice again later. The log at level DEBUG has its traceback.",
            ) from error
