"""Where a TCP stream listens or connects: addresses, and which of them only this machine reaches."""

import ipaddress
import socket
from dataclasses import dataclass

from ml.core.errors import ConfigError

LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port; ``str()`` writes it as a URL: ``tcp://127.0.0.1:5555``, ``tcp://[::1]:5555``.

    Attributes:
        address: A number of IPv4 or IPv6, without brackets, or the name of a host.
        port: 0 to 65535.
        is_ipv6: Whether it is reached over IPv6.
        is_loopback: Whether only processes of this machine reach it.
    """

    address: str
    port: int
    is_ipv6: bool
    is_loopback: bool

    def __str__(self) -> str:
        return f"tcp://[{self.address}]:{self.port}" if ":" in self.address else f"tcp://{self.address}:{self.port}"


def endpoint_to_bind(address: str, port: int) -> Endpoint:
    """Returns where to listen, with its address resolved: what was judged is what is bound.

    Args:
        address: Of an interface of this machine: a number, with or without the brackets of IPv6, a name, or ``"*"``
            for all of IPv4.
        port: 0 for any that is free.

    Raises:
        ConfigError: ``address`` or ``port`` is none.
    """
    _check_port(port, first=0)
    numbers = _resolved("0.0.0.0" if address == "*" else address)
    # One name may have several addresses. It is of the loopback if all of them are: which one comes first is chance.
    return Endpoint(str(numbers[0]), port, numbers[0].version == 6, all(number.is_loopback for number in numbers))


def endpoint_to_connect(address: str, port: int) -> Endpoint:
    """Returns where to connect to. A name stays a name, so a host that has moved is found again.

    Raises:
        ConfigError: ``address`` cannot be resolved, or ``port`` is not in 1 to 65535.
    """
    _check_port(port, first=1)
    numbers = _resolved(address)
    return Endpoint(
        _without_brackets(address), port, numbers[0].version == 6, all(number.is_loopback for number in numbers)
    )


def _resolved(address: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Every address that a name has, those of IPv4 first; never empty."""
    name = _without_brackets(address)
    if not name or name != name.strip() or not name.isprintable() or "/" in name:
        raise ConfigError(f"No address to stream at: {address!r}. Give one like 127.0.0.1, ::1 or a host's name.")
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"Cannot find the address {address!r} ({error}). Give one like 127.0.0.1, ::1 or a host's name."
        ) from None
    numbers = {ipaddress.ip_address(str(entry[4][0])) for entry in found}
    return sorted(numbers, key=lambda number: (number.version, int(number)))


def _without_brackets(address: str) -> str:
    return address[1:-1] if address.startswith("[") and address.endswith("]") else address


def _check_port(port: int, *, first: int) -> None:
    if isinstance(port, bool) or not first <= port <= LAST_PORT:
        raise ConfigError(f"A port is a whole number from {first} to {LAST_PORT}, got {port!r}.")
