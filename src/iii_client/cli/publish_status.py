"""`iii-client publish status`: what is published, what it is made of, and which key is needed when."""

from datetime import UTC, datetime

from rich.table import Table

from iii_client.cli.publish_options import (
    DirOption,
    JsonOption,
    OfflineOption,
    PassphraseFileOption,
    PassphraseOption,
    open_desk,
    passphrase,
)
from iii_client.cli.render import coverage_table, err, out, print_json_line, safe_text

#: Fewer days than these mean that a key must be fetched, or that a timer has stopped. Each role's term and
#: when it is renewed: publisher/roles.py.
_WARN_DAYS = {"root": 45, "targets": 45, "delta": 6, "snapshot": 6, "timestamp": 6}


def status(
    directory: DirOption,
    offline: OfflineOption = None,
    ask: PassphraseOption = False,
    passphrase_file: PassphraseFileOption = None,
    json: JsonOption = False,
) -> None:
    """Show the release, its lists, and each role's keys and expiry."""
    desk = open_desk(directory, offline=offline, secret=passphrase(ask, passphrase_file))
    current, lists, now = desk.status(), desk.lists(), datetime.now(UTC)
    if json:
        print_json_line(
            {
                "release": str(current.release),
                "base_at": current.base_at and current.base_at.isoformat(),
                "deltas": current.deltas,
                "near": list(current.near),
                "withdrawn": current.withdrawn,
                "visible": current.visible,
                "lists": [
                    {
                        "name": one.name,
                        "kind": one.kind.value,
                        "version": one.version,
                        "entries": one.entries,
                        "sources": list(one.sources),
                        "schemes": list(one.category_schemes),
                    }
                    for one in lists
                ],
                "roles": {
                    name: {
                        "version": version,
                        "expires": expires.isoformat(),
                        "threshold": current.keys[name][0],
                        "keys": [
                            {"id": keyid, "here": current.here.get(keyid)} for keyid in current.keys[name][1]
                        ],
                    }
                    for name, (version, expires) in current.roles.items()
                },
            }
        )
        return
    since = f", base of {current.base_at.date()}" if current.base_at else ""
    out.print(f"release {current.release}{since}, {current.deltas} deltas, {len(current.near)} near segments")
    if not current.visible:
        err.print(
            "[yellow]clients do not see the newest of it[/]: run `publish refresh` with the online keys"
        )
    table = Table("list", "kind", "version", "hashes", "sources", box=None, pad_edge=False)
    for one in lists:
        names = safe_text(", ".join(one.sources))
        table.add_row(safe_text(one.name), one.kind.value, str(one.version), f"{one.entries:,}", names)
    out.print(table)
    if current.coverage:
        out.print("\nin the present base:")
        out.print(coverage_table(current.coverage))
    table = Table("\nrole", "\nversion", "\nexpires", "\nmust sign", "\nkeys", box=None, pad_edge=False)
    for name, (version, expires) in current.roles.items():
        threshold, keyids = current.keys[name]
        keys = ", ".join(current.here.get(keyid, f"{keyid[:8]} (not here)") for keyid in keyids)
        soon = (expires - now).days < _WARN_DAYS[name]
        when = f"[yellow]{expires.date()}[/]" if soon else str(expires.date())
        table.add_row(name, str(version), when, str(threshold), keys)
    out.print(table)
