"""Encounters in the admin: read only, as text. No thumbnail, no link to a file, no hash.

Whoever has the permission "Can view encounter" sees what was found, decided and done since. Nobody needs to
look at a picture to act, and nothing here leads to one; acting is done with `manage.py iii review`.
"""

from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from iii_client.errors import IIIError, RecordError
from iii_client.integrations.django.client import get_parts
from iii_client.integrations.django.models import Encounter
from iii_client.model import Outcome
from iii_client.records.case_list import count_cases, newest_cases
from iii_client.records.cases import Case, find_encounter, load_case
from iii_client.records.review import waits_for
from iii_client.records.store import Transaction

#: Encounters on one page.
PAGE = 50

_FOLDER = "admin/iii_client/encounter"


@admin.register(Encounter)
class EncounterAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Two pages, list and detail, over the library's store."""

    def has_add_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """Only these two: the others would look for a table."""
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.list_view), name="iii_client_encounter_changelist"),
            path("<slug:encounter_id>/", wrap(self.detail_view), name="iii_client_encounter_change"),
        ]

    def list_view(self, request: HttpRequest) -> HttpResponse:
        """The newest first; by outcome, or one by its case reference."""
        self._check_permission(request)
        outcome = request.GET.get("outcome", "")
        if outcome not in {one.value for one in Outcome}:
            outcome = ""
        wanted, problem = request.GET.get("q", "").strip()[:100], ""
        page: Any = None
        try:
            with get_parts().store.reading() as tx:
                if wanted:
                    try:
                        return redirect("admin:iii_client_encounter_change", find_encounter(tx, wanted))
                    except RecordError as error:
                        problem = str(error)
                page = Paginator(cast(Any, _Newest(tx, outcome)), PAGE).get_page(request.GET.get("p"))
                rows = [_row(case) for case in page]
        except IIIError as error:
            # Three o'clock at night, and the database is away: say so instead of a server error.
            problem, rows = f"{error} {error.hint}".strip(), []
        return self._page(
            request,
            "list",
            rows=rows,
            page=page,
            outcome=outcome,
            outcomes=[one.value for one in Outcome],
            wanted=wanted,
            problem=problem,
        )

    def detail_view(self, request: HttpRequest, encounter_id: str) -> HttpResponse:
        """Everything about one, without its hashes."""
        self._check_permission(request)
        try:
            with get_parts().store.reading() as tx:
                case = load_case(tx, encounter_id)
        except RecordError as error:
            raise Http404(str(error)) from error
        return self._page(request, "detail", case=case, waits_for=waits_for(case) or "")

    def _check_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        return TemplateResponse(
            request,
            f"{_FOLDER}/{name}.html",
            {
                **self.admin_site.each_context(request),
                "title": Encounter._meta.verbose_name_plural,
                "opts": Encounter._meta,
                "list_url": reverse("admin:iii_client_encounter_changelist"),
                **context,
            },
        )


class _Newest:
    """Encounters for Django's paginator: a length and slices."""

    def __init__(self, tx: Transaction, outcome: str) -> None:
        self._tx, self._outcome = tx, outcome

    def __len__(self) -> int:
        return count_cases(self._tx, outcome=self._outcome)

    def __getitem__(self, part: slice) -> tuple[Case, ...]:
        return newest_cases(self._tx, outcome=self._outcome, limit=part.stop - part.start, offset=part.start)


def _row(case: Case) -> dict[str, object]:
    return {"case": case, "waits_for": waits_for(case) or ""}
