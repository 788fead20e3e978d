"""Who uploads, and by which way: what a scan is told beside the bytes, kept locally and never sent.

    with upload_context(route="avatar", uploader=f"user:{user.pk}"):
        form.is_valid()

The middleware does this for every request: the route is the view's name, the uploader the logged-in user.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from django.http import HttpRequest

from iii_client.model import ANONYMOUS, UploadContext

_current: ContextVar[Callable[[], UploadContext]] = ContextVar(
    "iii_upload_context", default=lambda: ANONYMOUS
)


def current_context() -> UploadContext:
    """What is known about the upload under way in this thread or task."""
    return _current.get()()


@contextmanager
def upload_context(**fields: Any) -> Iterator[None]:
    """Say more about the uploads inside the block; what is not named stays as it was.

    Args:
        fields: of `UploadContext`: route, uploader, place, reference, stored.
    """
    context = replace(current_context(), **fields)
    token = _current.set(lambda: context)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def request_context(request: HttpRequest) -> Iterator[None]:
    """The context of a request, read only if something is scanned: asking for the user opens the session."""
    token = _current.set(lambda: context_of(request))
    try:
        yield
    finally:
        _current.reset(token)


def context_of(request: HttpRequest) -> UploadContext:
    """Route and uploader of a request. Nobody's address is in it."""
    match = request.resolver_match
    user = getattr(request, "user", None)
    logged_in = user is not None and user.is_authenticated
    return UploadContext(
        route=match.view_name if match is not None else "",
        uploader=f"user:{user.pk}" if logged_in and user is not None else "",
    )
