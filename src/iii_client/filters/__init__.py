"""Candidates: looks fingerprints up in the installed release of the filter, on this machine alone.

A release is one bundle of exact Bloom filter sections, mapped read-only; near segments answer beside them.
The room promises no false negative for a listed hash, reads bytes that were verified before, and loads
neither the network nor the signing libraries.
"""

from iii_client.filters.bloom import ExactSection
from iii_client.filters.bundle import (
    Bundle,
    BundleSection,
    SectionKind,
    pack_bundle,
    parse_bundle,
)
from iii_client.filters.bypass import BypassFilter
from iii_client.filters.lookup import (
    Clock,
    ExactSections,
    FilterSnapshot,
    Section,
    open_bundle,
    open_snapshot,
    utc_now,
)
from iii_client.filters.near_lookup import NearSections
from iii_client.filters.views import DEFAULT_ORIENTATIONS, Orientation

__all__ = [
    "DEFAULT_ORIENTATIONS",
    "Bundle",
    "BundleSection",
    "BypassFilter",
    "Clock",
    "ExactSection",
    "ExactSections",
    "FilterSnapshot",
    "NearSections",
    "Orientation",
    "Section",
    "SectionKind",
    "open_bundle",
    "open_snapshot",
    "pack_bundle",
    "parse_bundle",
    "utc_now",
]
