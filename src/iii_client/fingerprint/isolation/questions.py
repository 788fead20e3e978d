"""What the host writes to a worker: one question, then the bytes of the picture.

    magic · nonce · kind · size of the picture · length of the settings · settings (JSON) · the picture

The host is trusted, so the settings may be of any shape: they are the fields of `Recipe` and `Limits`.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache

from iii_client.config import Limits
from iii_client.model import Algorithm, Decoding, Recipe

#: Another version of the library on the other side of the socket is refused: the last byte is the version.
_MAGIC = b"III-ASK\x01"
_HEADER = struct.Struct("<8s16s16sQI")
NONCE_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Look at this picture.

    Attributes:
        nonce: stands in the answer, so that no answer can be given before its question.
        kind: as sniffed, at most 16 ASCII characters.
        size_bytes: of the picture, which follows.
    """

    nonce: bytes
    kind: str
    size_bytes: int
    recipe: Recipe
    limits: Limits


def pack_question(question: Question) -> bytes:
    """Everything but the picture."""
    settings = _pack_settings(question.recipe, question.limits)
    header = _HEADER.pack(_MAGIC, question.nonce, question.kind.encode(), question.size_bytes, len(settings))
    return header + settings


def read_question(read: Callable[[int], bytes]) -> Question | None:
    """The next question; None when there will be none.

    Args:
        read: exactly so many bytes, or fewer at the end.

    Raises:
        ValueError: not a question of this version.
    """
    header = read(_HEADER.size)
    if not header:
        return None
    if len(header) != _HEADER.size or not header.startswith(_MAGIC):
        raise ValueError("not a question of this version")
    _, nonce, kind, size_bytes, settings_bytes = _HEADER.unpack(header)
    recipe, limits = _parse_settings(read(settings_bytes))
    return Question(
        nonce=nonce,
        kind=kind.rstrip(b"\0").decode(),
        size_bytes=size_bytes,
        recipe=recipe,
        limits=limits,
    )


# Nearly always the same as for the picture before.
@lru_cache(maxsize=8)
def _pack_settings(recipe: Recipe, limits: Limits) -> bytes:
    return json.dumps({"recipe": asdict(recipe), "limits": asdict(limits)}).encode()


@lru_cache(maxsize=8)
def _parse_settings(settings: bytes) -> tuple[Recipe, Limits]:
    fields = json.loads(settings)
    recipe = fields["recipe"]
    recipe["decoding"] = Decoding(recipe["decoding"])
    recipe["algorithms"] = tuple(Algorithm(name) for name in recipe["algorithms"])
    return Recipe(**recipe), Limits(**fields["limits"])
