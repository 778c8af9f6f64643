"""Parse the host that a request names, and list the names and addresses of this machine."""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import ifaddr

_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


class Host(NamedTuple):
    """A host as a request names it: in lower case, an IPv6 address in brackets; ``port`` is None if none was given."""

    name: str
    port: str | None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"


def parse_host(text: str) -> Host | None:
    """Return a host and port, or None for anything else, such as a name with a user before it."""
    match = _AUTHORITY.fullmatch(text.lower())
    return Host(match["name"], match["port"]) if match else None


def parse_listed_host(text: str) -> Host | None:
    """Return a host that an operator listed, where an IPv6 address may lack its brackets; None for anything else."""
    found = parse_host(text) or parse_host(f"[{text}]")
    if found is None or (found.name.startswith("[") and address(found.name[1:-1]) is None):
        return None
    # A name of digits and dots alone is a mistyped address: no browser could ask for it.
    is_number = not re.search(r"[a-z_\[-]", found.name)
    return None if is_number and address(found.name) is None else found


def address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address without the zone of a link-local one, or None if the text is a name."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def host_name(found: IPv4Address | IPv6Address) -> str:
    """Return an address as it stands in a URL, an IPv6 address in brackets."""
    return f"[{found}]" if found.version == 6 else str(found)


def listens_everywhere(listen_on: str) -> bool:
    """Return True for ``0.0.0.0`` and ``::``, which listen on every interface."""
    found = address(listen_on)
    return found is not None and found.is_unspecified


def implied_hosts(listen_on: str) -> tuple[str, ...]:
    """Return the hosts that a server on this address answers to without a setting: the address, or the machine's names.

    The addresses of the interfaces are not among them. They change when a laptop joins another network, so each
    connection is asked for its own.
    """
    if listens_everywhere(listen_on):
        name = socket.gethostname().lower().removesuffix(".local")
        return tuple(host for host in (name, f"{name}.local") if parse_listed_host(host))
    return (listen_on,) if parse_listed_host(listen_on) else ()


def interface_addresses() -> tuple[str, ...]:
    """Return the addresses by which others reach this machine: IPv4 before IPv6, private ones first."""
    found = {
        address(each.ip if isinstance(each.ip, str) else each.ip[0])
        for adapter in ifaddr.get_adapters()
        for each in adapter.ips
    }
    usable = [each for each in found if each and not (each.is_loopback or each.is_link_local or each.is_unspecified)]
    return tuple(
        host_name(each) for each in sorted(usable, key=lambda each: (each.version, not each.is_private, int(each)))
    )
