"""Pictures in the admin: what is uploaded here is checked by the storage."""

from django.contrib import admin

from photos.models import Photo

admin.site.register(Photo)
