"""Addresses: which ones belong to the public internet, and which of the others a function was granted.

A table of our own, from IANA's registries of special-purpose addresses: what Python's `ipaddress` calls private has
changed with its patch releases.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip
"""Not public: all of it in IPv4, and in IPv6 what lies in `_GLOBAL_UNICAST`."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""Nothing of IPv6 outside this is public."""

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "100.100.100.200", "168.63.129.16",
        "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
    )
)  # fmt: skip
"""Where clouds hand credentials to whoever asks. Granted one by one only, never as part of a larger network."""

_MASK32 = 0xFFFFFFFF
_NAT64 = 0x64FF9B << 64
_LOCAL_NAT64 = 0x64FF9B0001
_ISATAP = (0x00005EFE, 0x02005EFE)


def parse_network(text: str | Network) -> Network:
    """A network from CIDR text such as "10.1.0.0/16", or one address. Raises `ValueError`."""
    if isinstance(text, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return text
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a network; write for instance '10.1.0.0/16'")
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; write for instance '10.1.0.0/16'") from None


def parse_address(text: str) -> Address:
    """An address without its zone, as it stands in a socket's address. Raises `ValueError`."""
    return ipaddress.ip_address(text.partition("%")[0])


def is_granted(address: Address, networks: Iterable[Network]) -> bool:
    """Whether *address* is public or in one of *networks*; so is every IPv4 address that it carries."""
    return all(_is_granted(face, networks) for face in _faces(address))


def is_named(address: Address, networks: Iterable[Network]) -> bool:
    """Whether *address* is in one of *networks*, public or not."""
    return all(any(face in network for network in networks) for face in _faces(address))


def _is_granted(address: Address, networks: Iterable[Network]) -> bool:
    granting = [network for network in networks if address in network]
    if address in _METADATA:
        return any(network.prefixlen == network.max_prefixlen for network in granting)
    return bool(granting) or _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in _SPECIAL)


def _faces(address: Address) -> tuple[Address, ...]:
    """The addresses that a packet to *address* may end at, each of which must be granted."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    number = int(address)
    address = ipaddress.IPv6Address(number)  # without a zone
    last = ipaddress.IPv4Address(number & _MASK32)
    if address.ipv4_mapped is not None or number >> 32 == _NAT64:
        return (last,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return (address, *address.teredo)
    # IPv4-compatible and -translated, the local NAT64, ISATAP: nobody should use them, some systems still obey them.
    is_compatible = number >> 32 == 0 and number > 1  # 0 and 1 are "unspecified" and loopback
    is_embedding = number >> 32 == 0xFFFF0000 or number >> 80 == _LOCAL_NAT64 or number >> 32 & _MASK32 in _ISATAP
    return (address, last) if is_compatible or is_embedding else (address,)
