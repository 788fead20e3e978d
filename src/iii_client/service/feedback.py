"""Tells the service that one of its answers is doubted, or what was done about it."""

from iii_client.config import ServiceConfig
from iii_client.errors import ConfigurationError
from iii_client.model import Feedback
from iii_client.service import wire_v2
from iii_client.service.deadline import Deadline
from iii_client.service.http import HttpClient

#: A person is waiting, not an upload.
TIMEOUT_S = 10.0


class FeedbackClient:
    """Sends feedback under the richer contract. Fits `protocols.FeedbackSender`.

    Args:
        client: the connection.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    @classmethod
    def from_config(cls, config: ServiceConfig) -> "FeedbackClient":
        """The configured service.

        Raises:
            ConfigurationError: none is configured, or its contract takes no feedback.
        """
        if not config.url:
            raise ConfigurationError("no service is configured", hint="Set III_SERVICE_URL.")
        if config.protocol != "v2":
            raise ConfigurationError(
                "the v1 contract takes no feedback",
                hint="Write to the organisation that runs the service; 'iii-client report hotline REF' "
                "gathers what it needs to know.",
            )
        return cls(
            HttpClient(config.url, username=config.username, password=config.password, ca_file=config.ca_file)
        )

    def send(self, feedback: Feedback) -> str:
        """See `protocols.FeedbackSender`."""
        body = self._client.exchange(wire_v2.build_feedback(feedback), deadline=Deadline.after(TIMEOUT_S))
        return wire_v2.parse_feedback(body)

    def close(self) -> None:
        """Close pooled connections; they are opened again on use."""
        self._client.close()
