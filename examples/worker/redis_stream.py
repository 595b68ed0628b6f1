"""A Redis stream as queue, whose tasks outlive the worker that took them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import structlog
from redis.asyncio import Redis
from taskiq import AckableMessage
from taskiq_redis import RedisStreamBroker

log = structlog.get_logger("examples.worker")


class DurableStreamBroker(RedisStreamBroker):
    """
    Redelivers what a dead worker held, also while no new task arrives, and gives up on what kills workers.

    A task not acknowledged within `idle_timeout` ms goes to another worker: the time must exceed that of the
    longest task. One delivered *max_deliveries* times without an end is logged and dropped.
    """

    def __init__(self, url: str, *, max_deliveries: int = 3, **options: object) -> None:
        super().__init__(url, **options)  # type: ignore[arg-type]  # passed on as they are
        self.max_deliveries = max_deliveries

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """New tasks and, beside them, those of workers that went silent."""
        async with Redis(connection_pool=self.connection_pool) as redis:
            while True:
                for message_id, fields in await self._next(redis):
                    yield AckableMessage(
                        data=fields[b"data"], ack=self._ack_generator(message_id, self.queue_name)
                    )

    async def _next(self, redis: Redis) -> list[tuple[str, dict[bytes, bytes]]]:
        queue, group, consumer = self.queue_name, self.consumer_group_name, self.consumer_name
        # Claiming is one atomic command: of several workers that ask, one gets the task.
        _, claimed, *_ = await redis.xautoclaim(
            queue, group, consumer, min_idle_time=self.idle_timeout, count=self.unacknowledged_batch_size
        )
        alive = [
            (message_id, fields)
            for message_id, fields in claimed
            if fields and await self._spare(redis, message_id)
        ]
        fresh: Any = await redis.xreadgroup(
            group, consumer, {queue: ">"}, count=self.count, block=None if alive else self.block
        )
        return alive + [message for _, messages in fresh or () for message in messages]

    async def _spare(self, redis: Redis, message_id: str) -> bool:
        """Whether the task may be tried again."""
        found: Any = await redis.xpending_range(
            self.queue_name, self.consumer_group_name, min=message_id, max=message_id, count=1
        )
        deliveries: int = found[0]["times_delivered"]
        if deliveries <= self.max_deliveries:
            return True
        log.error("worker.task_dropped", message_id=message_id, deliveries=deliveries)
        await redis.xack(self.queue_name, self.consumer_group_name, message_id)
        return False
