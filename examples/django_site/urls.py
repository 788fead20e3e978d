"""Three addresses: the page, the pictures, the admin."""

from django.contrib import admin
from django.urls import path, re_path
from photos import views

urlpatterns = [
    path("", views.board, name="board"),
    path("quick/", views.quick, name="quick"),
    re_path(r"^media/(?P<name>.+)$", views.picture, name="picture"),
    path("admin/", admin.site.urls),
]
