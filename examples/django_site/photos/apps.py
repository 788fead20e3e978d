"""The app, and what it does when an answer comes late."""

from django.apps import AppConfig


class PhotosConfig(AppConfig):
    name = "photos"

    def ready(self):
        from iii_client.integrations.django.signals import late_answer

        late_answer.connect(act_on)


def act_on(*, answer, **_):
    """Sent by `manage.py iii_drain`; may come twice. What was hidden comes back by itself."""
    from django.core.files.storage import default_storage

    from photos.models import Photo

    if answer.action.value == "block":
        if default_storage.exists(answer.reference):
            default_storage.hold(answer.reference, answer.encounter_id)
        Photo.objects.filter(image=answer.reference).delete()
