"""The body of `POST /fingerprints`: digests that a client computed itself, read strictly.

    {"items": [{"md5": "…", "sha1": "…", "sha256": "…", "size_bytes": 12345, "is_picture": true}]}

Digests find exact copies. A near copy is found only in a picture's own pixels, which nobody looks at here: so
an item is unscannable, not "no match", unless its client says that it is no picture.
"""

import json
from typing import Any

from iii_client.errors import IIIError
from iii_client.model import Algorithm, Fingerprint, HashValue, Reason, Skipped

#: Of these fingerprints; no scan has it, so that nothing claimed here is remembered for a file scanned later.
RECIPE = "submitted-v1"
MAX_ITEMS = 500
MAX_BODY_BYTES = 256 << 10
_ALGORITHMS = {"md5": Algorithm.MD5, "sha1": Algorithm.SHA1, "sha256": Algorithm.SHA256}
_MAX_SIZE_BYTES = 1 << 50


class HashItemsError(IIIError):
    """The body is not of the form."""


def read_hash_items(body: bytes) -> tuple[Fingerprint, ...]:
    """The fingerprints of a body, in its order.

    Raises:
        HashItemsError: it is not of the form.
    """
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        raise HashItemsError("the body is not JSON") from None
    items = tree.get("items") if isinstance(tree, dict) and tree.keys() == {"items"} else None
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        raise HashItemsError(f'the body is {{"items": [...]}} with 1 to {MAX_ITEMS} of them')
    return tuple(_fingerprint(item) for item in items)


def _fingerprint(item: Any) -> Fingerprint:
    if not isinstance(item, dict) or not item.keys() <= {*_ALGORITHMS, "size_bytes", "is_picture"}:
        raise HashItemsError("an item has md5, sha1, sha256, size_bytes and is_picture, and nothing else")
    digests = tuple(_digest(name, item[name]) for name in _ALGORITHMS if name in item)
    size, is_picture = item.get("size_bytes", 0), item.get("is_picture", True)
    if not digests:
        raise HashItemsError("an item has at least one digest")
    if isinstance(size, float) and size.is_integer():
        size = int(size)  # to JSON 1.0 is an integer
    if type(size) is not int or not 0 <= size <= _MAX_SIZE_BYTES:
        raise HashItemsError("size_bytes is a whole number from 0")
    if type(is_picture) is not bool:
        raise HashItemsError("is_picture is true or false")
    reason = Reason.UNREADABLE if is_picture else Reason.NOT_A_PICTURE
    return Fingerprint(
        recipe=RECIPE,
        size_bytes=size,
        kind="unknown",
        digests=digests,
        skipped=(Skipped(what="pixels", reason=reason),),
    )


def _digest(name: str, text: Any) -> HashValue:
    algorithm = _ALGORITHMS[name]
    if not isinstance(text, str) or len(text) * 4 != algorithm.width_bits or not text.isascii():
        raise HashItemsError(f"{name} has {algorithm.width_bits // 4} hexadecimal digits")
    try:
        return HashValue(algorithm=algorithm, value=bytes.fromhex(text))
    except ValueError:
        raise HashItemsError(f"{name} has {algorithm.width_bits // 4} hexadecimal digits") from None
