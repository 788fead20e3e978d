"""The library's own parts, put together as a configuration says.

The scanner, the drainer and the commands that look into the records share one set of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

from iii_client.checking import Checker
from iii_client.config import Config
from iii_client.decide import TablePolicy
from iii_client.errors import FilterError
from iii_client.filters import BypassFilter
from iii_client.filters.views import Orientation
from iii_client.fingerprint import RECIPES, Isolation
from iii_client.model import NO_RELEASE, Recipe, ReleaseId
from iii_client.protocols import Confirmer, FilterSource, MembershipFilter, Observer, Recorder
from iii_client.records import StateRecorder, Store
from iii_client.records.allow_list import AllowList
from iii_client.records.breakers import Breakers
from iii_client.records.cache import Cache
from iii_client.records.hit_budgets import HitBudgets
from iii_client.records.impatient import ImpatientStore
from iii_client.records.opening import open_store
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.records.quarantine import Quarantine
from iii_client.records.tallies import Tallies
from iii_client.service import GuardedConfirmer, ServiceConfirmer, endpoint_of, make_confirmer
from iii_client.updates import FilterStore, LiveFilter, RecentNegatives


class Closable(Protocol):
    """Holds handles that can be given back; it opens them again when it is used again."""

    def close(self) -> None:
        """Give them back."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts over one store, made when they are first asked for."""

    config: Config
    store: Store
    confirmer: ServiceConfirmer
    policy: TablePolicy

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Nothing is connected or made yet.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        return cls(
            config=config,
            store=ImpatientStore(open_store(config.records, config.state_dir)),
            confirmer=make_confirmer(config.service),
            policy=TablePolicy(config.policy),
        )

    @property
    def recipe(self) -> Recipe:
        """How to hash."""
        return RECIPES[self.config.recipe]

    @property
    def closing(self) -> tuple[Closable, ...]:
        """What holds handles, in the order in which it is given back."""
        cache = () if self.cache is None else (self.cache,)
        jail = () if self.isolation is None else (self.isolation,)
        return (*jail, self.tallies, self.negatives, self.confirmer, *cache, self.store)

    @cached_property
    def cache(self) -> Cache | None:
        """What may be forgotten: fingerprints and answers; None when nothing shall be remembered."""
        return Cache.from_config(self.config) if self.config.records.cache else None

    @cached_property
    def tallies(self) -> Tallies:
        """Counts by day."""
        return Tallies(self.store)

    @cached_property
    def negatives(self) -> RecentNegatives:
        """Recent files without a hit, by which the next release is judged."""
        return RecentNegatives(self.config.state_dir, keep_days=self.config.records.keep_days)

    @cached_property
    def allow_list(self) -> AllowList:
        """Digests that the hoster knows to be good."""
        return AllowList(self.store)

    @cached_property
    def quarantine(self) -> Quarantine:
        """Held files."""
        return Quarantine.from_config(self.config, self.store)

    @cached_property
    def pseudonyms(self) -> PseudonymKey:
        """Hides uploaders and places."""
        return PseudonymKey(self.config.state_dir / "encounter.key")

    @cached_property
    def isolation(self) -> Isolation | None:
        """Where pictures are decoded; None for in this process. Nothing is started yet."""
        return None if self.config.isolation == "off" else Isolation()

    @cached_property
    def filters(self) -> FilterSource:
        """The installed filter, or none at all where a digest of every picture is confirmed."""
        if self.config.filter.bypassed:
            return _FixedFilter(BypassFilter(self.confirmer.supports))
        return LiveFilter(
            FilterStore(self.config.state_dir),
            orientations=tuple(map(Orientation, self.config.filter.views)),
        )

    def shielded(self, confirmer: Confirmer) -> Confirmer:
        """A confirmer behind the answers that are remembered and the breaker that all workers share.

        A service that is not configured needs neither.
        """
        service = self.config.service
        if not service.url:
            return confirmer
        endpoint = endpoint_of(service)
        answers = None if self.cache is None else self.cache.answers(endpoint, self._release_now)
        return GuardedConfirmer(confirmer, endpoint=endpoint, breaker=Breakers(self.store), answers=answers)

    def checker(
        self,
        *,
        counts_hits: bool = True,
        observers: Sequence[Observer] = (),
        recorder: Recorder | None = None,
        remembers: bool = True,
    ) -> Checker:
        """Decides about what was hashed.

        Args:
            counts_hits: whether hits count in the budgets, see `StateRecorder`.
            observers: count what happens, beside the tallies.
            recorder: writes decisions down, instead of this installation's own.
            remembers: whether the cache learns; not from a rescan, which would push the uploads out of it.
        """
        guard = HitBudgets(self.store, key=self.pseudonyms, config=self.config.guard)
        return Checker(
            filters=self.filters,
            confirmer=self.shielded(self.confirmer),
            policy=self.policy,
            recorder=recorder
            or StateRecorder(
                self.store, key=self.pseudonyms, policy=self.policy.version, counts_hits=counts_hits
            ),
            mode=self.config.mode,
            send_own_hash=self.config.service.send_own_hash,
            allow_list=self.allow_list,
            guard=guard if counts_hits else None,
            memory=self.cache if remembers else None,
            observers=(self.tallies, self.negatives, *observers),
            views=self.config.filter.views,
        )

    def _release_now(self) -> ReleaseId:
        try:
            return self.filters.current().release
        except FilterError:
            return NO_RELEASE


class _FixedFilter:
    """A filter source that always hands out the same filter."""

    def __init__(self, membership: MembershipFilter) -> None:
        self._membership = membership

    def current(self) -> MembershipFilter:
        return self._membership
