"""A worker that reads the filter: `reading.py STATE map|swap`. It says `ready`, and goes on until its input
ends.

map: opens the filter, reads all of it, and waits. swap: looks up without a pause, whatever is installed; each
release must list "always", the marker of its own epoch, and no other marker. At its end it says how many
look-ups it made, in how many releases.
"""

import hashlib
import select
import sys
from pathlib import Path

from iii_client.filters import open_bundle
from iii_client.model import Algorithm, Fingerprint, HashValue
from iii_client.updates import FilterStore, LiveFilter

MARKERS = 3
state_dir, what = Path(sys.argv[1]), sys.argv[2]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def item(name: str) -> Fingerprint:
    digest = HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(name.encode()).digest())
    return Fingerprint(recipe="fast-v1", size_bytes=1, kind="unknown", digests=(digest,))


def has_ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


live = LiveFilter(FilterStore(state_dir))
if what == "map":
    pinned = live.current()
    store = FilterStore(state_dir)
    exact = open_bundle(store.bundle_file(pinned.info))[1]
    for _, section in exact.sections:
        section.ones(0, section.header.slices * section.header.bits_per_slice)
    say("ready")
    sys.stdin.read()
else:
    looked = 0
    seen: set[int] = set()
    live.current()
    say("ready")
    while not has_ended():
        pinned = live.current()
        epoch = pinned.release.epoch
        asked = ["always", *(f"marker {number}" for number in range(MARKERS))]
        hits = [bool(found.candidates) for found in pinned.look_up([item(name) for name in asked])]
        expected = [True, *(number == epoch % MARKERS for number in range(MARKERS))]
        if hits != expected:
            say(f"wrong in epoch {epoch}: {hits}")
            sys.exit(1)
        looked += len(asked)
        seen.add(epoch)
    say(f"{looked} {len(seen)}")
