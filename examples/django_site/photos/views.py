"""The page: a form and the pictures."""

import mimetypes

from django import forms
from django.contrib import messages
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import FileResponse, Http404, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from iii_client.integrations.rejection import UploadRejected
from photos.models import Photo

#: What this site shows; anything else that is uploaded is no picture to it.
SHOWN = {"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"}


class PhotoForm(forms.ModelForm):
    class Meta:
        model = Photo
        fields = ("image", "caption")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["image"].widget = forms.FileInput(attrs={"accept": ",".join(sorted(SHOWN))})

    def clean_image(self):
        image = self.cleaned_data["image"]
        if mimetypes.guess_type(image.name)[0] not in SHOWN:
            raise forms.ValidationError("Please choose a JPEG, PNG, GIF, WebP or AVIF picture.")
        return image


def board(request):
    """The form and the pictures. A refusal is shown where the form is, so that another can be chosen."""
    form = PhotoForm(request.POST or None, request.FILES or None)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                # A refusal in the middle of a save ends the transaction; a savepoint keeps the page's own.
                with transaction.atomic():
                    photo = form.save()
            except UploadRejected as refusal:
                form.add_error("image", str(refusal))
                status = 422
            else:
                kept = "is there." if photo.is_visible else "is being checked, and appears here after that."
                messages.success(request, f"Thank you. Your picture {kept}")
                return redirect("board")
    photos = Photo.objects.all()[:60]
    return render(request, "photos/board.html", {"form": form, "photos": photos}, status=status)


@csrf_exempt
@require_POST
def quick(request):
    """For programs: the middleware answers for a refusal, and the transaction is rolled back."""
    photo = Photo.objects.create(image=request.FILES["image"])
    return JsonResponse({"stored": photo.image.name}, status=201)


def picture(_request, name):
    """In production a web server does this."""
    if not default_storage.exists(name):
        raise Http404
    return FileResponse(
        default_storage.open(name),
        headers={"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"},
    )
