"""The report of a rescan, from the ledger alone: JSON lines, CSV, and one page that a person reads.

Promises: no picture, no hash, no address of an uploader; the page holds everything it shows, loads nothing
and runs nothing; every text in it is escaped. Items are in it by reference, up to a bound; the JSON lines
and the CSV have them all.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TextIO

from iii_client.rescan.jobs import JobStatus
from iii_client.rescan.ledger import Ledger
from iii_client.rescan.report_page import render

FORMAT = "iii-rescan-report/1"
#: Items that the page shows one by one; a page of more is not read, and slow to open.
PAGE_ITEMS = 500
#: Places shown, of those that have most of something.
PAGE_PLACES = 15
#: Places counted at most: beyond it new ones are added up as "elsewhere", so memory stays bounded.
MAX_PLACES = 10_000

COLUMNS = (
    "shard",
    "reference",
    "outcome",
    "ruled",
    "action",
    "reasons",
    "size_bytes",
    "kind",
    "sources",
    "categories",
    "encounter_id",
    "release",
    "at",
)


@dataclass(slots=True)
class Summary:
    """What the page says.

    Attributes:
        by_source, by_category: matched items a list body, and a category; an item may count in several.
        places: items by place and outcome, the worst places first.
        items: the first exceptions, matches first.
    """

    status: JobStatus
    made_at: datetime
    by_source: Counter[str] = field(default_factory=Counter)
    by_category: Counter[str] = field(default_factory=Counter)
    places: list[tuple[str, Counter[str]]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    not_shown: int = 0
    throughput: list[tuple[int, int, int]] = field(default_factory=list)


def items(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Every item that is not plain "no match", in order."""
    for row in ledger.exceptions():
        item = dict(zip(COLUMNS, row, strict=True))
        item["reasons"] = item["reasons"].split()
        item["sources"] = json.loads(item["sources"])
        item["categories"] = json.loads(item["categories"])
        yield item


def write_jsonl(ledger: Ledger, file: TextIO) -> None:
    """The status as first line, then an item a line."""
    file.write(json.dumps({"format": FORMAT, **status_as_json(ledger.status())}) + "\n")
    file.writelines(json.dumps(item) + "\n" for item in items(ledger))


def write_csv(ledger: Ledger, file: TextIO) -> None:
    """An item a line, with a header. No value starts a formula when a spreadsheet opens it."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for item in items(ledger):
        flat = {
            **item,
            "reasons": " ".join(item["reasons"]),
            "sources": "; ".join(item["sources"]),
            "categories": "; ".join(":".join(category[:2]) for category in item["categories"]),
        }
        writer.writerow([_no_formula(flat[column]) for column in COLUMNS])


def write_html(ledger: Ledger, file: TextIO, *, now: datetime) -> None:
    """One page."""
    file.write(render(summarise(ledger, now=now)))


def summarise(ledger: Ledger, *, now: datetime) -> Summary:
    """Everything the page says; memory is bounded whatever was found."""
    found = Summary(status=ledger.status(), made_at=now, throughput=ledger.throughput())
    places: dict[str, Counter[str]] = {}
    others: list[dict[str, Any]] = []
    shown = 0
    for item in items(ledger):
        if item["outcome"] == "no_match":
            continue
        if item["outcome"] == "matched":
            found.by_source.update(item["sources"] or ["(no list named)"])
            found.by_category.update({":".join(category[:2]) for category in item["categories"]})
        place = item["reference"].rpartition("/")[0] or "/"
        if place not in places and len(places) >= MAX_PLACES:
            place = "(elsewhere)"
        places.setdefault(place, Counter())[item["outcome"]] += 1
        shown += 1
        target = found.items if item["outcome"] == "matched" else others
        if len(target) < PAGE_ITEMS:
            target.append(item)
    found.items = [*found.items, *others][:PAGE_ITEMS]
    found.not_shown = shown - len(found.items)
    found.places = sorted(
        places.items(), key=lambda entry: (-entry[1]["matched"], -entry[1].total(), entry[0])
    )[:PAGE_PLACES]
    return found


def status_as_json(status: JobStatus) -> dict[str, Any]:
    """One object for machines."""
    return {
        "job": status.name,
        "state": status.state.value,
        "items": status.items,
        "no_match": status.no_match,
        "matched": status.matched,
        "unconfirmed": status.unconfirmed,
        "unscannable": status.unscannable,
        "failed": status.failed,
        "reasons": status.reasons,
        "size_bytes": status.size_bytes,
        "redone": status.redone,
        "stored_bytes": status.stored_bytes,
        "bytes_per_item": round(status.stored_bytes / status.items, 1) if status.items else 0,
        "release": status.release,
        "created_at": status.created_at,
        "roots": list(status.roots),
    }


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
