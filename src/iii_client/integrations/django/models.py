"""A model without a table: it gives the admin a name and a permission for the library's own records."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Encounter(models.Model):
    """One recorded decision. Its rows are in the library's store; see `records/case_list.py`."""

    id: "models.CharField[str, str]" = models.CharField(primary_key=True, max_length=32)

    class Meta:
        managed = False
        default_permissions = ("view",)
        verbose_name = _("encounter")
        verbose_name_plural = _("encounters")
