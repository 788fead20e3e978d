"""A model whose field validates, and one that leaves it to the storage."""

from django.db import models

from iii_client.integrations.django.validators import UploadValidator


class Photo(models.Model):
    image = models.FileField(upload_to="photos", validators=[UploadValidator(route="photo")], blank=True)
    caption: "models.CharField[str, str]" = models.CharField(max_length=100, blank=True)

    class Meta:
        app_label = "upload_site"


class Attachment(models.Model):
    file = models.FileField(upload_to="attachments")

    class Meta:
        app_label = "upload_site"


class Note(models.Model):
    text: "models.CharField[str, str]" = models.CharField(max_length=100)

    class Meta:
        app_label = "upload_site"
