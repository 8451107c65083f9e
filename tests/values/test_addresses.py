"""Addresses are public or granted, however they are written and whatever they carry."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmrun.addresses import is_granted, parse_address, parse_network

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)


def networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(map(parse_network, texts))


@given(V4 | V6)
def test_address_that_python_does_not_call_global_is_not_public(address: ipaddress.IPv4Address) -> None:
    """The table is stricter than the standard library's, never laxer."""
    if address in ipaddress.ip_network("64:ff9b::/96"):
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)  # public where what it carries is
    if not address.is_global or address.is_multicast or address.is_reserved:
        embedded = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
        assert not is_granted(address, ()) or (embedded is not None and is_granted(embedded, ()))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001:81b::200e"])
def test_public_addresses_need_no_network(text: str) -> None:
    """Nor do they once they are mapped or translated."""
    address = parse_address(text)
    assert is_granted(address, ())
    if address.version == 4:
        assert is_granted(parse_address(f"::ffff:{text}"), ())
        assert is_granted(parse_address(f"64:ff9b::{text}"), ())


def carriers(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """The IPv6 addresses that carry *address* in one of the known ways."""
    number = int(address)
    made = [
        0xFFFF << 32 | number, number, 0xFFFF << 48 | number, 0x2002 << 112 | number << 80 | 1,
        0x64FF9B << 96 | number, 0x64FF9B0001 << 80 | number,
        0x20010000 << 96 | 0x08080808 << 64 | number ^ 0xFFFFFFFF, 0x20010000 << 96 | number << 64 | 0xF7F7F7F7,
        0x26064700 << 96 | 0x5EFE << 32 | number, 0x26064700 << 96 | 0x2005EFE << 32 | number,
    ]  # fmt: skip
    return [ipaddress.IPv6Address(each) for each in made]


@given(V4)
def test_address_that_is_carried_by_another_is_checked(address: ipaddress.IPv4Address) -> None:
    """No way of carrying makes an address public that is not."""
    for carrier in carriers(address):
        assert is_granted(address, ()) or not is_granted(carrier, ()), carrier
        assert is_granted(address, ()) or not is_granted(carrier, networks("2000::/3")), carrier


@given(V4)
def test_granting_everything_grants_all_but_metadata(address: ipaddress.IPv4Address) -> None:
    """Those are where credentials are handed out: each needs naming."""
    everything = networks("0.0.0.0/0", "::/0")
    assert is_granted(address, everything)
    assert not is_granted(parse_address("169.254.169.254"), everything)


@pytest.mark.parametrize("text", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"])
def test_metadata_address_is_granted_by_its_name_alone(text: str) -> None:
    """As a network of one address."""
    address = parse_address(text)
    wide = str(ipaddress.ip_network(f"{text}/{8 if address.version == 4 else 16}", strict=False))
    assert not is_granted(address, networks(wide, "2000::/3"))
    assert is_granted(address, networks(text))


def test_network_grants_what_is_in_it() -> None:
    """Of its own version; an IPv4 address that an IPv6 one carries, too."""
    inside = networks("10.1.0.0/16", "fd12::/16")
    assert is_granted(parse_address("10.1.2.3"), inside)
    assert is_granted(parse_address("::ffff:10.1.2.3"), inside)
    assert is_granted(parse_address("fd12::1"), inside)
    assert not is_granted(parse_address("10.2.0.1"), inside)
    assert not is_granted(parse_address("fd13::1"), inside)
    assert is_granted(parse_address("::1"), networks("::1"))
    assert not is_granted(parse_address("::1"), networks("0.0.0.0/0"))


@pytest.mark.parametrize("bad", ["10.0.0.1/8", "10.0.0.0/33", "a.test", "", 5, None])
def test_network_that_is_none_is_refused(bad: object) -> None:
    """With an example."""
    with pytest.raises(ValueError, match="write for instance"):
        parse_network(bad)  # type: ignore[arg-type]


def test_zone_of_an_address_is_no_part_of_it() -> None:
    """As resolvers give it."""
    assert is_granted(parse_address("fe80::1%eth0"), networks("fe80::/64"))
    assert parse_address("fe80::1%eth0") == parse_address("fe80::1")
    assert not is_granted(ipaddress.ip_address("fe80::1%eth0"), ())
