"""Describe the sender of a request, for the fair shares of connections, streams and downloads."""

from collections.abc import Callable
from dataclasses import dataclass

LOOPBACK = "this machine"


@dataclass(frozen=True, eq=False)
class Caller:
    """The sender's address, its seat (empty without a cookie), and a function that ends the request's connection."""

    address: str
    owner: str
    give_way: Callable[[], None]
    idle: bool = False
