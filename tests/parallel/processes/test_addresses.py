"""Addresses of this machine and the interfaces that have them."""

from __future__ import annotations

import socket

import pytest

from steel_megatron.parallel.processes.addresses import (
    LOOPBACK,
    address_towards,
    interface_of,
    interface_towards,
    is_known,
    is_own,
)

NOBODY = "no-such-host.invalid"  # RFC 6761: never resolved


@pytest.mark.parametrize(("name", "known", "own"), [(LOOPBACK, True, True), (NOBODY, False, False)])
def test_names(name, known, own):
    assert (is_known(name), is_own(name)) == (known, own)


def test_an_address_of_another_machine_is_known_but_not_own():
    assert is_known("192.0.2.1")
    assert not is_own("192.0.2.1")


def test_this_machine_speaks_to_itself_over_loopback():
    assert address_towards(LOOPBACK) == LOOPBACK
    assert address_towards(NOBODY) is None
    name = interface_of(LOOPBACK)
    assert name in {known for _, known in socket.if_nameindex()}
    assert interface_towards("localhost") == name
    assert interface_of("192.0.2.1") is None


def test_a_node_that_knows_itself_by_loopback_takes_the_default_route(monkeypatch):
    towards = {"first": "127.0.1.1", "192.0.2.1": None, "2001:db8::1": "fe80::7"}
    monkeypatch.setattr("steel_megatron.parallel.processes.addresses.address_towards", towards.get)
    monkeypatch.setattr("steel_megatron.parallel.processes.addresses.interface_of", lambda address: f"of {address}")
    assert interface_towards("first") == "of fe80::7"
    towards["2001:db8::1"] = "::1"
    assert interface_towards("first") is None
