"""Lists in the form of Project VIC's data model (VICS 1.3 and 2.0), as hotlines and police exchange them.

    {"@odata.context": "…/DataModels/2.0.xml/US/$metadata#Media", "value": [
        {"MediaID": 1, "Category": 1, "MD5": "…", "SHA1": "…", "AlternativeHashes": […], …}, …]}

or, from a case, `"value": [{"CaseID": …, "Media": [ … ]}]`. Of each medium this takes MD5, SHA-1, SHA-256 and
the category; names, places and everything else are passed over unread. Its hashes are linked as those of
one picture. PhotoDNA is counted and left: it is a closed algorithm. **Such files hold harmless pictures,
too** (category 0 and others), so whoever reads one must say which category codes are to be listed.

A code means nothing without its country: the scheme is `vics-us`, `vics-uk`, … as the file's context says.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, TextIO

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, Category, HashValue
from iii_client.publisher.bad_rows import BadRow, OnBadRow, refuse_bad_row
from iii_client.publisher.json_stream import JsonStream
from iii_client.publisher.lists import FULL_QUALITY, MAX_NAME, ListEntry

_CONTEXT_KEYS = frozenset({"@odata.context", "odata.metadata"})
_MODEL = re.compile(r"ProjectVic/DataModels/[0-9]+\.[0-9]+\.xml(?:/([A-Za-z]{2,16}))?", re.IGNORECASE)

_DIGEST_FIELDS = {"MD5": Algorithm.MD5, "SHA1": Algorithm.SHA1, "SHA256": Algorithm.SHA256}
_OTHER_NAMES = {"md5": "MD5", "sha1": "SHA1", "sha-1": "SHA1", "sha256": "SHA256", "sha-256": "SHA256"}

#: Other hashes of one medium that are looked at.
_MAX_ALTERNATIVES = 64


def read_vics(
    file: TextIO,
    *,
    list_name: str,
    source: str,
    codes: Collection[str],
    scheme: str = "",
    on_bad_row: OnBadRow = refuse_bad_row,
    passed_over: Counter[str] | None = None,
) -> Iterator[ListEntry]:
    """Read entries one by one; open the file as `utf-8-sig`.

    Args:
        file: the list.
        list_name, source: what the entries are filed under; the form has no place for them.
        codes: category codes that are to be listed; media of other codes are passed over.
        scheme: of the codes; by default `vics-` and the country that the file's context names.
        on_bad_row: told about each medium that cannot be listed; by default the first one ends the reading.
        passed_over: counts what was not listed and why.

    Raises:
        ConfigurationError: the file is no such list, or names no country and no scheme is given.
    """
    counts: Counter[str] = Counter() if passed_over is None else passed_over
    for number, (context, medium) in enumerate(_media(JsonStream(file)), 1):
        try:
            yield from _entries(
                medium,
                list_name=list_name,
                source=source,
                codes=codes,
                scheme=scheme or _scheme_of(context),
                counts=counts,
            )
        except _MediumError as bad:
            on_bad_row(BadRow(place=f"medium {number}, {bad.field}", what=bad.what))


class _MediumError(Exception):
    """One field of a medium is wrong."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(field, what)
        self.field = field
        self.what = what


def _media(stream: JsonStream) -> Iterator[tuple[str, Any]]:
    """Each medium with the context of the file, whether it lists media or cases."""
    context = ""
    found = False
    for key in stream.members():
        if key in _CONTEXT_KEYS:
            context = str(stream.value())
        elif key == "value":
            found = True
            if "#cases" in context.lower():
                for _ in stream.elements():
                    for case_key in stream.members():
                        if case_key == "Media":
                            yield from ((context, stream.value()) for _ in stream.elements())
                        else:
                            stream.value()
            else:
                yield from ((context, stream.value()) for _ in stream.elements())
        else:
            stream.value()
    stream.end()
    if not found:
        raise ConfigurationError(
            "the list has no 'value'", hint="A VICS file is an object with '@odata.context' and 'value'."
        )


def _scheme_of(context: str) -> str:
    model = _MODEL.search(context)
    if not model:
        raise ConfigurationError(
            "the file does not say that it follows Project VIC's data model before its media",
            hint="Its '@odata.context' should. If you know better, name the scheme of its categories.",
        )
    if not model[1]:
        raise ConfigurationError(
            "the file does not say of which country its category codes are",
            hint="Name the scheme of its categories, such as vics-us: a code means nothing without it.",
        )
    return f"vics-{model[1].lower()}"


def _entries(
    medium: Any, *, list_name: str, source: str, codes: Collection[str], scheme: str, counts: Counter[str]
) -> Iterator[ListEntry]:
    if not isinstance(medium, dict):
        raise _MediumError("medium", "is not an object")
    code = _code(medium.get("Category"))
    if code not in codes:
        counts[f"category {code}" if code else "no category"] += 1
        return
    digests = [_digest(name, text) for name, text in _named_hashes(medium, counts)]
    if not digests:
        counts["no MD5, SHA-1 or SHA-256"] += 1
    category = Category(scheme=scheme, code=code, source=source)
    for digest in dict.fromkeys(digests):
        yield ListEntry(
            hash=digest,
            quality=FULL_QUALITY,
            list_name=list_name,
            source=source,
            categories=(category,),
            # A name that is the same in every file which has this medium, whatever its MediaID there.
            item=digests[0].hex if len(digests) > 1 else "",
        )


def _code(category: object) -> str:
    if category is None or category == "":
        return ""
    if isinstance(category, bool) or not isinstance(category, int | str) or len(str(category)) > MAX_NAME:
        raise _MediumError("Category", "must be a number or a text")
    text = str(category).strip()
    if not text.isprintable():
        raise _MediumError("Category", "must be printable")
    return text


def _named_hashes(medium: dict[str, Any], counts: Counter[str]) -> Iterator[tuple[str, Any]]:
    """(field, text) of every digest that the medium gives."""
    for name in _DIGEST_FIELDS:
        if medium.get(name):
            yield name, medium[name]
    if medium.get("PhotoDNA"):
        counts["hash of PhotoDNA"] += 1
    others = medium.get("AlternativeHashes") or []
    if not isinstance(others, list) or len(others) > _MAX_ALTERNATIVES:
        raise _MediumError("AlternativeHashes", f"must be a list of at most {_MAX_ALTERNATIVES}")
    for other in others:
        if not isinstance(other, dict) or not isinstance(other.get("HashName"), str):
            raise _MediumError("AlternativeHashes", "must have a HashName each")
        known = _OTHER_NAMES.get(other["HashName"].strip().lower())
        if known:
            yield known, other.get("HashValue")
        else:
            counts["hash of another algorithm"] += 1


def _digest(name: str, text: object) -> HashValue:
    if not isinstance(text, str):
        raise _MediumError(name, "must be a text")
    try:
        return HashValue.from_hex(_DIGEST_FIELDS[name], text.strip())
    except ValueError as error:
        raise _MediumError(name, str(error)) from None
