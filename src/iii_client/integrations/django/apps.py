"""The app: its label is `iii_client`, and its checks are registered when Django is ready."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ClientConfig(AppConfig):
    """What `INSTALLED_APPS` names as `iii_client.integrations.django`."""

    name = "iii_client.integrations.django"
    label = "iii_client"
    verbose_name = _("Upload scanning")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks. Nothing is opened: a worker may still be forked."""
        from iii_client.integrations.django.checks import register_all

        register_all()
