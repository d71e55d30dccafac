"""Work that stands and falls together."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Group:
    """Tasks of which the first failure ends the others. It is raised itself, and not in a group of them."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None and self._tasks:
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all."""
    async with Group() as group:
        tasks = [group.start(work) for work in works]
    return [task.result() for task in tasks]
