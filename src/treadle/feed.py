"""Fans committed turns out to subscribers, in commit order, by cursor.

A subscriber has a bounded queue. One that falls behind is marked so and told nothing more; it reads the store from its
last cursor and subscribes again, so a slow reader costs memory to nobody and misses nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

QUEUE_TURNS = 1_000


class Committed(Protocol):
    """A turn as the store gives it back."""

    @property
    def execution_id(self) -> str:
        """Return whose turn it is."""

    @property
    def cursor(self) -> int:
        """Return the cursor of its last event."""


class Batches(Protocol):
    """What a subscriber reads from."""

    @property
    def is_behind(self) -> bool:
        """Tell whether turns were dropped: read the store from the last cursor seen, then subscribe anew."""

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing more will come."""

    async def next(self) -> Sequence[Committed]:
        """Wait for turns and return all that are there; empty once closed or behind."""

    def close(self) -> None:
        """Stop. Safe twice."""


class Source(Protocol):
    """Says when the log has grown."""

    def subscribe(self, execution_id: str | None = None) -> Batches:
        """Return what is committed from now on, of one execution or (None) of all."""


class Subscription:
    """One subscriber: an async source of batches of turns.

    Attributes:
        is_behind: True once turns were dropped; read the store from the last cursor seen, then subscribe anew.
    """

    def __init__(self, feed: Feed, execution_id: str | None) -> None:
        self.is_behind = False
        self._feed = feed
        self._execution_id = execution_id
        self._turns: deque[Committed] = deque()
        self._arrived = asyncio.Event()
        self._closed = False

    def offer(self, turns: Iterable[Committed]) -> None:
        """Take what concerns this subscriber; called by the feed."""
        wanted = self._execution_id
        self._turns.extend(one for one in turns if wanted is None or one.execution_id == wanted)
        if len(self._turns) > QUEUE_TURNS:
            self.lapse()
        elif self._turns:
            self._arrived.set()

    async def next(self) -> Sequence[Committed]:
        """Wait for turns and return all that are there; empty once closed or behind."""
        while not (self._turns or self.is_behind or self._closed):
            self._arrived.clear()
            await self._arrived.wait()
        turns = list(self._turns)
        self._turns.clear()
        return turns

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing more will come."""
        return self._closed

    def lapse(self) -> None:
        """Note that something may have been missed; called by the feed."""
        self._turns.clear()
        self.is_behind = True
        self._arrived.set()

    def close(self) -> None:
        """Stop; whoever waits in ``next`` gets an empty list. Safe twice."""
        self._closed = True
        self._arrived.set()
        self._feed.forget(self)


class Feed:
    """The subscribers of one engine. Lives on one event loop."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []

    def subscribe(self, execution_id: str | None = None) -> Subscription:
        """Return a subscription to everything published from now on, of one execution or (None) of all."""
        subscription = Subscription(self, execution_id)
        self._subscriptions.append(subscription)
        return subscription

    @property
    def has_subscribers(self) -> bool:
        """Tell whether publishing reaches anyone."""
        return bool(self._subscriptions)

    def publish(self, turns: Sequence[Committed]) -> None:
        """Hand committed turns, in commit order, to every subscriber."""
        for subscription in self._subscriptions:
            subscription.offer(turns)

    def lapse(self) -> None:
        """Have every subscriber read the store again: more may be committed than was published."""
        for subscription in self._subscriptions:
            subscription.lapse()

    def forget(self, subscription: Subscription) -> None:
        """Drop a subscriber. Safe twice."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def close(self) -> None:
        """Close every subscription."""
        for subscription in list(self._subscriptions):
            subscription.close()
