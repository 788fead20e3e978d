"""What both wire formats hand to the HTTP client: one request as a value. Pure, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """One request, relative to the configured base URL.

    Attributes:
        method: `GET` or `POST`.
        path: starts with a slash; never carries a hash (paths end up in access logs, bodies do not).
        headers: beyond those that every request carries.
        body: empty for `GET`.
        max_answer_bytes: the longest body that a well-formed answer can have; more is not read.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(repr=False, default=b"")
    max_answer_bytes: int
