"""Ports for servers that are told their port before they start, or that start again on the same one."""

import socket
from pathlib import Path

_MANY = 4000


def free_port() -> int:
    """Return a TCP port that is free now, and that no connection and no other test takes until this process ends.

    The kernel gives outgoing connections, and listeners on port 0, the ports of ``ip_local_port_range``. These lie
    below.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range(max(1025, first - _MANY), first):
        # A name that only one process of the machine can have, and that goes with it.
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0freestanding-playground-port-{port}")
            with socket.create_server(("", port)):
                pass
        except OSError:
            claim.close()
        else:
            claim.detach()
            return port
    raise AssertionError(f"no port below {first} is free")
