"""The photo in the admin, where no view of the project is asked."""

from django.contrib import admin

from .models import Attachment

admin.site.register(Attachment)
