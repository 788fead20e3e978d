"""The jail around the decoder: `Isolation` is a `PixelReader` whose workers have nothing and see one picture.

    host (any threads)                    helper (one thread)              worker (one picture)
    digests, filter, service              forks, buries                    decodes, hashes, is gone
      │ starts by exec, without environment ──►│ ──fork────────────────────►│ gives up files, network, rights
      │ ──question and the bytes──────────────────────────────────────────►│
      │ ◄─one record of fixed length───────────────────────────────────────│

See docs/explanation/isolation.md for what holds on which system, and for the price.
"""

from iii_client.fingerprint.isolation.confinement import ALL_LAYERS, Bounds, Layer
from iii_client.fingerprint.isolation.isolation import Isolation
from iii_client.fingerprint.isolation.looks import RecyclingReader, layer_names
from iii_client.fingerprint.isolation.poison import DeathsInThisProcess, PoisonMemory

__all__ = [
    "ALL_LAYERS",
    "Bounds",
    "DeathsInThisProcess",
    "Isolation",
    "Layer",
    "PoisonMemory",
    "RecyclingReader",
    "layer_names",
]
