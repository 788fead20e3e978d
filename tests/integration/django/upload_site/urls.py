"""One view for each way in."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from iii_client.integrations.django.context import current_context
from iii_client.integrations.django.validators import UploadValidator

from .models import Attachment, Note, Photo


class PhotoForm(forms.Form):
    image = forms.FileField(validators=[UploadValidator()], allow_empty_file=True)


class PhotoModelForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Photo
        fields = ("image", "caption")


def _answer(form: forms.BaseForm) -> HttpResponse:
    return JsonResponse({field: list(errors) for field, errors in form.errors.items()}, status=400)


def form_view(request: HttpRequest) -> HttpResponse:
    form = PhotoForm(request.POST, request.FILES)
    if not form.is_valid():
        return _answer(form)
    upload = form.cleaned_data["image"]
    return JsonResponse({"stored": default_storage.save(f"form/{upload.name}", upload)})


def modelform_view(request: HttpRequest) -> HttpResponse:
    form = PhotoModelForm(request.POST, request.FILES)
    if not form.is_valid():
        return _answer(form)
    return JsonResponse({"stored": form.save().image.name})


def storage_view(request: HttpRequest) -> HttpResponse:
    """No validator anywhere, and something written before the refusal."""
    Note.objects.create(text="about to store")
    stored = Attachment.objects.create(file=request.FILES["image"])
    return JsonResponse({"stored": stored.file.name})


def context_view(_request: HttpRequest) -> HttpResponse:
    context = current_context()
    return JsonResponse({"route": context.route, "uploader": context.uploader})


@transaction.non_atomic_requests
async def async_view(_request: HttpRequest) -> HttpResponse:
    context = current_context()
    return JsonResponse({"route": context.route, "uploader": context.uploader})


def careless_view(request: HttpRequest) -> HttpResponse:
    """Looks at the form data and at no file."""
    return JsonResponse({"files": len(request.FILES), "fields": dict(request.POST.items())})


urlpatterns: list[Any] = [
    path("form/", form_view, name="form"),
    path("modelform/", modelform_view, name="modelform"),
    path("storage/", storage_view, name="storage"),
    path("context/", context_view, name="context"),
    path("async/", async_view, name="async"),
    path("careless/", careless_view, name="careless"),
    path("admin/", admin.site.urls),
]
