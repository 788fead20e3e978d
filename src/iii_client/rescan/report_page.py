"""The page of a report: HTML with its style and its plots (SVG) inside. Pure; nothing is loaded or run."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iii_client.rescan.report import Summary

_CSP = "default-src 'none'; style-src 'unsafe-inline'"
_COLOURS = {
    "matched": "#b3261e",
    "unconfirmed": "#b26a00",
    "unscannable": "#6b4fa0",
    "failed": "#444444",
    "no_match": "#2e7d4f",
}
_WORDS = {
    "matched": "matched",
    "unconfirmed": "not confirmed yet",
    "unscannable": "not scanned",
    "failed": "failed",
    "no_match": "no match",
}
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    "h1{margin-bottom:0}h2{margin-top:2.5rem}.sub{opacity:.75;margin-top:.25rem}"
    ".tiles{display:flex;flex-wrap:wrap;gap:1rem;margin:1.5rem 0}"
    ".tile{flex:1 1 9rem;border:1px solid #8886;border-radius:.5rem;padding:.75rem 1rem}"
    ".tile b{display:block;font-size:1.8rem;line-height:1.2}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;"
    "padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}td{overflow-wrap:anywhere}"
    ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "svg{width:100%;height:auto}svg text{fill:currentColor;font:12px system-ui,sans-serif}"
)
#: Points of the plot over time; minutes are added up into so many.
_POINTS = 120


def render(found: "Summary") -> str:
    """The whole page."""
    status = found.status
    state = "finished" if status.state.value == "finished" else "NOT FINISHED: these are the counts so far"
    body = [
        f"<h1>Rescan {escape(status.name)}</h1>",
        f'<p class="sub">{escape(state)} · begun {escape(status.created_at[:16].replace("T", " "))} UTC · '
        f"checked against release {escape(status.release or '-')} · made {_moment(found.made_at)} UTC</p>",
        f"<p>{_headline(status)}</p>",
        _tiles(status),
        "<h2>Outcomes</h2>",
        _stack({name: getattr(status, name) for name in _COLOURS}),
        "<h2>What was not scanned, and why</h2>",
        _bars(status.reasons, "#6b4fa0")
        or "<p>Everything was scanned, and everything that was asked about was answered.</p>",
        "<h2>Matches by list</h2>",
        _bars(found.by_source, _COLOURS["matched"]) or "<p>None.</p>",
        "<h2>Matches by category</h2>",
        _bars(found.by_category, _COLOURS["matched"]) or "<p>None.</p>",
        "<h2>Places with the most finds</h2>",
        _places(found.places) or "<p>None.</p>",
        "<h2>Pace</h2>",
        _pace(found.throughput) or "<p>Nothing was read yet.</p>",
        "<h2>Items</h2>",
        _items(found.items) or "<p>None.</p>",
        f"<p>{found.not_shown:,} more are in the JSON lines and the CSV.</p>" if found.not_shown else "",
        "<h2>How this was done</h2>",
        f"<p>{status.items:,} items, {_size(status.size_bytes)} as listed, from:</p><ul>"
        + "".join(f"<li>{_text(root)}</li>" for root in status.roots)
        + f"</ul><p>Fingerprints take {_size(status.stored_bytes)} here"
        + (f", {status.stored_bytes / status.items:,.0f} bytes an item" if status.items else "")
        + f". {status.redone:,} items were handed out again because a process ended. No picture left the "
        "storage's reader; only hashes of probable hits were sent. No picture and no hash is in here. "
        "Nothing was moved or deleted: the action is what your policy orders.</p>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">\n'
        f"<title>Rescan {escape(status.name)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _headline(status: Any) -> str:
    open_ends = status.unconfirmed + status.unscannable + status.failed
    parts = [f"<b>{status.matched:,}</b> of {status.items:,} items matched a list."]
    if open_ends:
        parts.append(
            f"About <b>{open_ends:,}</b> nothing is known yet: they were not looked at, "
            "or not answered, which does not make them innocent."
        )
    return " ".join(parts)


def _tiles(status: Any) -> str:
    tiles = "".join(
        f'<div class="tile"><b style="color:{colour}">{getattr(status, name):,}</b>{_WORDS[name]}</div>'
        for name, colour in _COLOURS.items()
    )
    return f'<div class="tiles">{tiles}</div>'


def _stack(counts: dict[str, int]) -> str:
    """One bar of all items. Slivers are drawn two pixels wide: few matches among millions must be seen."""
    total = sum(counts.values())
    if not total:
        return "<p>No items.</p>"
    x, parts = 0.0, []
    for name, count in counts.items():
        if count:
            width = max(960 * count / total, 2)
            label = f"{_WORDS[name]}: {count:,} ({100 * count / total:.3g} %)"
            parts.append(
                f'<rect x="{x:.1f}" width="{width:.1f}" height="28" fill="{_COLOURS[name]}">'
                f"<title>{label}</title></rect>"
            )
            x += width
    return f'<svg viewBox="0 0 {max(x, 1):.0f} 28" role="img" aria-label="outcomes">{"".join(parts)}</svg>'


def _bars(counts: "dict[str, int] | Counter[str]", colour: str) -> str:
    rows = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:30]
    if not rows:
        return ""
    most = rows[0][1]
    parts = []
    for number, (name, count) in enumerate(rows):
        y, width = 26 * number, max(520 * count / most, 2)
        parts.append(
            f'<text x="0" y="{y + 17}">{_text(name[:48])}</text>'
            f'<rect x="330" y="{y + 4}" width="{width:.1f}" height="18" fill="{colour}"/>'
            f'<text x="{338 + width:.1f}" y="{y + 17}">{count:,}</text>'
        )
    return f'<svg viewBox="0 0 960 {26 * len(rows)}" role="img" aria-label="counts">{"".join(parts)}</svg>'


def _pace(minutes: Sequence[tuple[int, int, int]]) -> str:
    """Items a minute over time, gaps included."""
    if not minutes:
        return ""
    first, last = minutes[0][0], minutes[-1][0]
    step = max(1, -(-(last - first + 1) // _POINTS))
    sums = Counter[int]()
    for minute, items, _ in minutes:
        sums[(minute - first) // step] += items
    values = [sums[number] / step for number in range((last - first) // step + 1)]
    most = max(values) or 1.0
    width = 900 / len(values)
    bars = "".join(
        f'<rect x="{50 + number * width:.1f}" y="{150 - 130 * value / most:.1f}" '
        f'width="{max(width - 1, 0.5):.1f}" height="{130 * value / most:.1f}" fill="#3b6ea5"/>'
        for number, value in enumerate(values)
    )
    begins, ends = (datetime.fromtimestamp(minute * 60, UTC) for minute in (first, last + 1))
    return (
        '<svg viewBox="0 0 960 185" role="img" aria-label="items a minute over time">'
        f'<text x="0" y="12">{most:,.0f} a minute</text><text x="0" y="154">0</text>{bars}'
        f'<text x="50" y="175">{_moment(begins)}</text>'
        f'<text x="950" y="175" text-anchor="end">{_moment(ends)}</text></svg>'
        f"<p>Items a minute, by {step} minute{'s' if step > 1 else ''}, in UTC; the first and the "
        "last one count whole.</p>"
    )


def _places(places: Iterable[tuple[str, Counter[str]]]) -> str:
    rows = "".join(
        f"<tr><td>{_text(place)}</td>"
        + "".join(
            f'<td class="n">{counts[name]:,}</td>'
            for name in ("matched", "unconfirmed", "unscannable", "failed")
        )
        + "</tr>"
        for place, counts in places
    )
    head = "".join(
        f'<th class="n">{_WORDS[n]}</th>' for n in ("matched", "unconfirmed", "unscannable", "failed")
    )
    return f"<table><tr><th>place</th>{head}</tr>{rows}</table>" if rows else ""


def _items(items: Sequence[dict[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td style="color:{_COLOURS.get(item["outcome"], "inherit")}">'
        f"{_WORDS.get(item['outcome'], '?')}</td>"
        f"<td>{_text(item['action'])}</td><td>{_text(', '.join([*item['sources'], *item['reasons']]))}</td>"
        f"<td>{_text(item['reference'])}</td><td>{_text(item['encounter_id'][:8])}</td></tr>"
        for item in items
    )
    return (
        "<table><tr><th>outcome</th><th>action</th><th>list or reason</th><th>item</th>"
        f"<th>encounter</th></tr>"
        f"{rows}</table>"
        if rows
        else ""
    )


def _text(text: str) -> str:
    """Names are chosen by strangers."""
    return escape("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _size(size_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if size_bytes < 1024 or unit == "TiB":
            return f"{size_bytes:,.0f} {unit}" if unit == "bytes" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1024
    raise AssertionError("unreachable")
