"""One stored picture."""

from django.db import models


class Photo(models.Model):
    image = models.FileField(upload_to="%Y")
    caption = models.CharField(max_length=80, blank=True)
    uploaded_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-uploaded_at",)

    def __str__(self):
        return self.caption or f"picture {self.pk}"

    @property
    def is_visible(self):
        """A picture that is held has a name and no file, until it comes back."""
        return self.image.storage.exists(self.image.name)
