"""A hotline report for people: plain text, or one HTML page without a script, a picture or a link."""

from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}"
    "th{text-align:left;vertical-align:top;padding-right:1.5rem;white-space:nowrap}"
    "td{overflow-wrap:anywhere}"
)
_CSP = "default-src 'none'; style-src 'unsafe-inline'"


def as_text(report: dict[str, Any]) -> str:
    """Lines of `name: value`, ASCII where the values are. Control characters are shown, not sent on."""
    lines = [f"Report of a case ({report['format']})", ""]
    lines += [f"{name + ':':24}{_plain(value)}" for name, value in _rows(report)]
    return "\n".join(lines) + "\n"


def as_html(report: dict[str, Any]) -> str:
    """One page. Every value is escaped; nothing is loaded from anywhere."""
    rows = "\n".join(
        f"<tr><th>{escape(name)}</th><td>{escape(_plain(value))}</td></tr>" for name, value in _rows(report)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">\n'
        f"<title>Case {escape(str(report['case']))}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>Report of case {escape(str(report['case']))}</h1>\n<table>\n{rows}\n</table>\n"
        f"<p>{escape(str(report['format']))}. It holds no picture.</p></body></html>\n"
    )


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "case", report["case"]
    if report["is_test"]:
        yield "note", "THIS IS THE HARMLESS TEST PICTURE"
    yield "contact", report["contact"] or "-"
    yield "seen at", report["seen_at"]
    yield "upload path", report["route"] or "-"
    yield "outcome", report["outcome"]
    yield "known as a match since", report["confirmed_at"] or "-"
    yield "listed by", ", ".join(report["listed_by"]) or "the service names no list"
    for scheme, code, source in report["categories"]:
        yield "category", f"{scheme}:{code}" + (f" (says {source})" if source else "")
    for match in report["matches"]:
        how = "the exact file" if match["exact"] else f"looks alike, {match['distance_bits']} bits away"
        yield "match", f"{match['algorithm']}: {how}" + (f", {match['value']}" if "value" in match else "")
    if "sha256" in report:
        yield "SHA-256 of the file", report["sha256"] or "-"
    if "reference" in report:
        yield "reference", report["reference"] or "-"
    before = report["seen_before"]
    yield "earlier, same uploader", str(before["from_the_same_uploader"])
    yield "earlier, same place", str(before["at_the_same_place"])
    yield "earlier, same hash", str(before["the_same_hash"])
    for step in report["done"]:
        yield "done", f"{step['at']}  {step['what']}"
    yield "out of reach since", report["out_of_reach_at"] or "NOT YET"
    yield "kept sealed", "yes" if report["kept_sealed"] else "no"
    technical = report["technical"]
    yield "technical", f"filter {technical['release']}, {technical['recipe']}, row {technical['rule']}"
    yield "made", f"{report['made_at']} by {report['made_by']}"


def _plain(text: str) -> str:
    """Names of sources come from outside: nothing of them steers a terminal or breaks a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
