"""The middleware: who uploads by which view, and a neutral answer where an upload was refused.

    MIDDLEWARE = [..., "iii_client.integrations.django.middleware.UploadMiddleware"]   # after authentication

The answer has one status and one text whatever the reason. A person gets the page `iii_client/rejected.html`,
which a project may replace; a client that prefers JSON or plain text gets that. Under ATOMIC_REQUESTS the
request's transaction is rolled back by then, and the library's record of the refusal stands.
"""

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string

from iii_client.integrations.django.context import request_context
from iii_client.integrations.django.messages import refusal_text
from iii_client.integrations.rejection import REJECTED_CODE, REJECTED_STATUS, UploadRejected

TEMPLATE = "iii_client/rejected.html"

#: The first is for clients that take anything.
_TYPES = ["text/plain", "text/html", "application/json"]


class UploadMiddleware:
    """Works in both of Django's worlds without a change of threads."""

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Remember the request while its view runs."""
        if self._is_async:
            return self._later(request)
        with request_context(request):
            return self.get_response(request)

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        with request_context(request):
            return await cast(Awaitable[HttpResponseBase], self.get_response(request))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The neutral answer; None for what is not ours."""
        if isinstance(exception, UploadRejected):
            return rejected_response(request, exception)
        return None


def rejected_response(request: HttpRequest, rejected: UploadRejected) -> HttpResponse:
    """The answer to a refused upload, also for views that catch `UploadRejected` themselves."""
    text = refusal_text(rejected)
    wanted = request.get_preferred_type(_TYPES)
    if wanted == "application/json":
        response: HttpResponse = JsonResponse(
            {"detail": text, "code": REJECTED_CODE, "reference": rejected.case_reference},
            status=REJECTED_STATUS,
        )
    elif wanted == "text/html" and (page := _page(request, rejected, text)):
        response = HttpResponse(page, status=REJECTED_STATUS)
    else:
        response = HttpResponse(f"{text}\n", status=REJECTED_STATUS, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def _page(request: HttpRequest, rejected: UploadRejected, text: str) -> str:
    """Empty where the project renders no templates."""
    try:
        return render_to_string(
            TEMPLATE,
            {"text": text, "case_reference": rejected.case_reference, "contact": rejected.contact},
            request=request,
        )
    except (TemplateDoesNotExist, ImproperlyConfigured):
        return ""
