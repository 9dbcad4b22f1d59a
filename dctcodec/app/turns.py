"""One job at a time, in order of arrival."""

import asyncio
from collections.abc import AsyncIterator


class Full(Exception):
    """So many wait that no more may."""


class Turns:
    """Places in a line, of at most `most`. To be used in one event loop."""

    def __init__(self, most: int):
        self.most = most
        self._line: list[asyncio.Event] = []

    def join(self) -> asyncio.Event:
        """A place at the end of the line. Raises Full."""
        if len(self._line) >= self.most:
            raise Full
        place = asyncio.Event()
        self._line.append(place)
        return place

    async def wait(self, place: asyncio.Event) -> AsyncIterator[int]:
        """How many are ahead, again whenever that changes; ends when it is this one's turn."""
        while ahead := self._line.index(place):
            place.clear()
            yield ahead
            await place.wait()

    def leave(self, place: asyncio.Event) -> None:
        """Give up a place, or end a turn."""
        self._line.remove(place)
        for other in self._line:
            other.set()
