"""How many transfers may run at a time: additive increase, multiplicative decrease, for each lane."""

from __future__ import annotations

from typing import Final, NamedTuple

DECREASE: Final = 0.5
"""What is left of a lane's limit after the store asked to slow down."""

ROUNDS: Final = 4
"""Rounds without throttling that let one more run: a store at its limit refuses few of them."""


class Ticket(NamedTuple):
    """Leave for one transfer."""

    lane: int
    epoch: int
    """How often the lane had slowed down when it was given."""


class _Lane:
    __slots__ = ("epoch", "limit", "running")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.running = 0
        self.epoch = 0


class Pace:
    """
    At most *most* transfers of a lane at a time; after throttling half as many, then slowly more again.

    S3 limits requests by prefix, so each lane (the keys below one first segment) has its own limit. A limit
    is halved once for all transfers that were under way, and grows by one for each `ROUNDS` times that many
    that went through. It never falls below one. Lanes at full pace with nothing running are forgotten. No
    clock, no waiting: the caller asks again when a transfer has finished.
    """

    def __init__(self, most: int) -> None:
        self.most: Final = most
        self.throttled = 0
        """Times a limit was halved."""
        self._lanes: dict[int, _Lane] = {}

    def limit(self, lane: int) -> int:
        """Transfers of *lane* allowed at a time now."""
        state = self._lanes.get(lane)
        return self.most if state is None else int(state.limit)

    def lowest(self) -> int:
        """The limit of the slowest lane."""
        return min((int(state.limit) for state in self._lanes.values()), default=self.most)

    def try_start(self, lane: int) -> Ticket | None:
        """Leave to start one more transfer of *lane*, or `None`."""
        state = self._lanes.get(lane)
        if state is None:
            state = self._lanes[lane] = _Lane(float(self.most))
        if state.running >= int(state.limit):
            return None
        state.running += 1
        return Ticket(lane, state.epoch)

    def finish(self, ticket: Ticket, *, throttled: bool) -> None:
        """A transfer ended; *throttled* says that the store asked to slow down."""
        state = self._lanes[ticket.lane]
        state.running -= 1
        if not throttled:
            state.limit = min(float(self.most), state.limit + 1 / (ROUNDS * state.limit))
        elif ticket.epoch == state.epoch:
            # What started before the last decrease says nothing about the pace since then.
            state.limit = max(1.0, state.limit * DECREASE)
            state.epoch += 1
            self.throttled += 1
        if not state.running and state.limit >= self.most:
            del self._lanes[ticket.lane]
