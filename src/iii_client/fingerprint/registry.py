"""The recipes: which hashes are made, from which pixels. A change of any value is a new version."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from iii_client.model import Algorithm, Decoding, Recipe

_ALGORITHMS = (Algorithm.PDQ, Algorithm.PDQ_512, Algorithm.PHASH)

#: `fast-v1`: a JPEG is read as luma at the smallest of 1/1, 1/2, 1/4, 1/8 that leaves 256 pixels a side,
#: and the reduction is folded into the hash; other formats are read whole and hashed from luma. PDQ is at
#: most a few bits from `exact-v1`. What the gates keep from near matching is hashed as in `exact-v1`.
FAST_V1 = Recipe(name="fast", version=1, decoding=Decoding.FAST, algorithms=_ALGORITHMS)

#: `exact-v1`: every pixel, in RGB. Equal to `pdqhash` and `imagehash.phash` on photographs.
EXACT_V1 = Recipe(name="exact", version=1, decoding=Decoding.EXACT, algorithms=_ALGORITHMS)

#: Version 2 adds the trimmed hashes of frames with a plain border; all others are those of version 1. So a
#: stored fingerprint of version 1 still says what it says, and misses listed pictures in a border.
FAST = replace(FAST_V1, version=2, trims_borders=True)
EXACT = replace(EXACT_V1, version=2, trims_borders=True)

#: By the name that the configuration uses: the newest version, or a version by its id.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in (FAST, EXACT)} | {recipe.id: recipe for recipe in (FAST_V1, EXACT_V1)}
)
