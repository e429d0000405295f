"""Addresses of this machine: where the processes of a run find one another."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of a network interface
NOWHERE = ("192.0.2.1", "2001:db8::1")  # reserved for documentation; nothing is sent there


def is_known(name: str) -> bool:
    """Whether this machine finds an address for the name."""
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def is_own(name: str) -> bool:
    """Whether the name leads to an address of this machine: only such a one can be bound."""
    return _first_socket(name, 0, socket.SOCK_STREAM, socket.socket.bind) is not None


def address_towards(host: str) -> str | None:
    """The address from which this machine speaks to a host, as its routes say; nothing is sent."""
    return _first_socket(host, 9, socket.SOCK_DGRAM, socket.socket.connect)


def _first_socket(host: str, port: int, kind: int, use: Callable[[socket.socket, Any], None]) -> str | None:
    """This machine's end of the first socket that can be used with an address of the host."""
    try:
        found = socket.getaddrinfo(host, port, type=kind)
    except OSError:
        return None
    for family, of_kind, protocol, _, address in found:
        with contextlib.suppress(OSError), socket.socket(family, of_kind, protocol) as sock:
            use(sock, address)
            return str(sock.getsockname()[0])
    return None


def interface_of(address: str) -> str | None:
    """The network interface that has an address of this machine; None off Linux."""
    if ":" in address:
        return _interface_of_ipv6(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(sock.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


def interface_towards(host: str) -> str | None:
    """The interface that leads to a host on another machine.

    The first node may know its own name as 127.0.1.1 or the like, which tells nothing: then it is the interface of the
    default route. ``localhost`` means that all "nodes" are this machine.
    """
    if host in ("localhost", LOOPBACK, "::1"):
        return interface_of(LOOPBACK)
    for goal in (host, *NOWHERE):
        address = address_towards(goal)
        if address is not None and not address.startswith("127.") and address != "::1":
            return interface_of(address)
    return None


def _interface_of_ipv6(address: str) -> str | None:
    packed = socket.inet_pton(socket.AF_INET6, address.split("%")[0]).hex()
    table = Path("/proc/net/if_inet6")
    lines = table.read_text().splitlines() if table.is_file() else []
    return next((line.split()[-1] for line in lines if line.startswith(packed)), None)
