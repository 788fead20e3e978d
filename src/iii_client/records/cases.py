"""A case: one encounter with everything that is known about it, read from all tables at one moment.

Nothing here is a picture, and hashes stay out of a `repr`. An uploader is a keyed pseudonym that only this
state directory can link.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from iii_client.errors import RecordError
from iii_client.model import Action, Category, Outcome
from iii_client.records.case_reference import read_case_reference
from iii_client.records.follow_ups import FollowUp, FollowUpKind, follow_ups_of
from iii_client.records.held import Held, find_held
from iii_client.records.outbox import OutboxState
from iii_client.records.store import Transaction

#: Algorithms of exact bytes, as the table has them: a row of a newer version may name others.
_DIGESTS = frozenset({"md5", "sha1", "sha256"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One filter hit of a case.

    Attributes:
        algorithm, value: the hash.
        section, view, frame, chain_length, flips, own: see `model.Candidate`.
        confirmed: the service lists it.
        distance_bits, sources, categories: see `model.Match`; of a confirmed one.
    """

    algorithm: str
    value: bytes = field(repr=False)
    section: str
    view: str
    frame: int
    chain_length: int
    flips: int
    own: bool
    confirmed: bool
    distance_bits: int
    sources: tuple[str, ...]
    categories: tuple[Category, ...]

    @property
    def is_exact(self) -> bool:
        """Whether it is a digest of the exact bytes."""
        return self.algorithm in _DIGESTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of the question in the outbox."""

    state: str
    attempts: int
    last_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One encounter, with what happened to it afterwards.

    Attributes:
        outcome, ruled, action, mode, rule, guard, policy, reasons, release, recipe: of the decision, as
            recorded then.
        at: of the decision, aware.
        uploader_key, place_key: pseudonyms; empty for none.
        stored: it was in the storage already, so the decision alone put nothing out of reach.
        follow_ups: oldest first.
        asked: its rows in the outbox.
        held: its files in quarantine.
    """

    encounter_id: str
    case_reference: str
    at: datetime
    outcome: Outcome
    ruled: Action
    action: Action
    mode: str
    rule: str
    guard: str
    policy: str
    reasons: tuple[str, ...]
    release: str
    recipe: str
    sha256: bytes = field(repr=False)
    hashes_sent: int
    confirm_id: str = field(repr=False)
    route: str
    reference: str = field(repr=False)
    stored: bool
    uploader_key: bytes = field(repr=False)
    place_key: bytes = field(repr=False)
    hits: tuple[Hit, ...]
    follow_ups: tuple[FollowUp, ...]
    asked: tuple[Asked, ...]
    held: tuple[Held, ...]

    @property
    def name(self) -> str:
        """How people call it: the case reference, or the encounter where nobody was refused."""
        return self.case_reference or self.encounter_id

    @property
    def outcome_now(self) -> Outcome:
        """After late answers and decisions of people."""
        return Outcome(self._last("outcome") or self.outcome.value)

    @property
    def action_now(self) -> Action:
        """What holds now."""
        return Action(self._last("action") or self.action.value)

    @property
    def rule_now(self) -> str:
        """The row that gave it."""
        return self._last("rule") or self.rule

    @property
    def confirmed(self) -> tuple[Hit, ...]:
        """Hits that the service lists."""
        return tuple(hit for hit in self.hits if hit.confirmed)

    @property
    def is_test(self) -> bool:
        """Whether all that matched is the shipped test picture."""
        categories = [category for hit in self.confirmed for category in hit.categories]
        return bool(categories) and all(category.is_test for category in categories)

    @property
    def is_exact(self) -> bool:
        """Whether a digest of the exact bytes was confirmed."""
        return any(hit.is_exact for hit in self.confirmed)

    @property
    def waits_for_service(self) -> bool:
        """Whether the outbox will still ask."""
        return any(asked.state == OutboxState.PENDING for asked in self.asked)

    @property
    def waits_too_long(self) -> bool:
        """Whether the outbox gave the question to a person."""
        return any(asked.state == OutboxState.FOR_REVIEW for asked in self.asked)

    def when(self, *kinds: FollowUpKind) -> datetime | None:
        """When the first follow-up of these kinds was written."""
        return next((follow_up.at for follow_up in self.follow_ups if follow_up.kind in kinds), None)

    def _last(self, name: str) -> str:
        values = (getattr(follow_up, name) for follow_up in reversed(self.follow_ups))
        return next((str(value) for value in values if value), "")


def find_encounter(tx: Transaction, reference: str) -> str:
    """The encounter of a case reference, an encounter id or the id of a held file, as a person typed it.

    Raises:
        RecordError: there is none.
    """
    text = reference.strip()
    try:
        case = read_case_reference(text)
    except ValueError:
        case = ""
    rows = tx.query(
        "SELECT id FROM encounter WHERE id = :text OR (case_reference = :case AND :case <> '')",
        text=text.lower(),
        case=case,
    ) or tx.query("SELECT encounter_id FROM held WHERE id = :text", text=text.lower())
    if not rows:
        raise RecordError(
            "no such case",
            hint="Give a case reference (7K3M-Q2WF-9XTA), an encounter id or the id of a held file. "
            "Settled cases are forgotten after records.keep_days.",
        )
    return str(rows[0][0])


def load_case(tx: Transaction, encounter_id: str) -> Case:
    """Everything about one encounter.

    Raises:
        RecordError: there is none.
    """
    rows = tx.query(
        "SELECT case_reference, at, outcome, ruled, action, mode, rule, guard, policy, reasons, release,"
        " recipe, sha256, hashes_sent, confirm_id, route, reference, uploader_key, place_key,"
        " stored FROM encounter WHERE id = :id",
        id=encounter_id,
    )
    if not rows:
        raise RecordError("no such case")
    (
        case_reference,
        at,
        outcome,
        ruled,
        action,
        mode,
        rule,
        guard,
        policy,
        reasons,
        release,
        recipe,
        sha256,
        hashes_sent,
        confirm_id,
        route,
        reference,
        uploader_key,
        place_key,
        stored,
    ) = rows[0]
    return Case(
        encounter_id=encounter_id,
        case_reference=case_reference,
        at=datetime.fromisoformat(at),
        outcome=Outcome(outcome),
        ruled=Action(ruled),
        action=Action(action),
        mode=mode,
        rule=rule,
        guard=guard,
        policy=policy,
        reasons=tuple(reasons.split()),
        release=release,
        recipe=recipe,
        sha256=bytes(sha256),
        hashes_sent=hashes_sent,
        confirm_id=confirm_id,
        route=route,
        reference=reference,
        uploader_key=bytes(uploader_key or b""),
        place_key=bytes(place_key or b""),
        stored=bool(stored),
        hits=_hits(tx, encounter_id),
        follow_ups=follow_ups_of(tx, encounter_id),
        asked=tuple(
            Asked(state=state, attempts=attempts, last_reason=last_reason)
            for state, attempts, last_reason in tx.query(
                "SELECT state, attempts, last_reason FROM outbox WHERE encounter_id = :id", id=encounter_id
            )
        ),
        held=find_held(tx, encounter_id),
    )


def _hits(tx: Transaction, encounter_id: str) -> tuple[Hit, ...]:
    rows = tx.query(
        "SELECT algorithm, value, section, view, frame, chain_length, flips, own, confirmed, distance_bits,"
        " sources, categories FROM encounter_hit WHERE encounter_id = :id ORDER BY section, value",
        id=encounter_id,
    )
    return tuple(
        Hit(
            algorithm=algorithm,
            value=bytes(value),
            section=section,
            view=view,
            frame=frame,
            chain_length=chain_length,
            flips=flips,
            own=bool(own),
            confirmed=bool(confirmed),
            distance_bits=distance_bits,
            sources=tuple(_texts(sources)),
            categories=tuple(
                Category(scheme=scheme, code=code, source=source)
                for scheme, code, source in _texts(categories)
            ),
        )
        for (
            algorithm,
            value,
            section,
            view,
            frame,
            chain_length,
            flips,
            own,
            confirmed,
            distance_bits,
            sources,
            categories,
        ) in rows
    )


def _texts(column: str) -> list[Any]:
    """A JSON array that this library wrote."""
    value = json.loads(column)
    return value if isinstance(value, list) else []
