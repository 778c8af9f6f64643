"""The sender of a request, as the shares of places count it."""

from collections.abc import Callable
from dataclasses import dataclass

LOOPBACK = "this machine"


@dataclass(frozen=True, eq=False)
class Caller:
    """The sender's address, its seat (empty without a cookie), and how to end the connection of this very request."""

    address: str
    owner: str
    give_way: Callable[[], None]
    idle: bool = False
