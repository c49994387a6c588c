"""Which addresses are this machine's alone, and what is none."""

import pytest

from ml.core.errors import ConfigError
from ml.io.endpoint import endpoint_to_bind, endpoint_to_connect


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost"])
def test_the_loopback_is_known_by_every_name(address):
    assert endpoint_to_bind(address, 0).is_loopback


@pytest.mark.parametrize("address", ["0.0.0.0", "*", "::", "192.0.2.7", "[2001:db8::7]", "::ffff:192.0.2.7"])
def test_no_other_address_is_the_loopback(address):
    assert not endpoint_to_bind(address, 0).is_loopback


def test_a_name_is_bound_as_the_number_that_was_judged():
    assert str(endpoint_to_bind("localhost", 5555)) in ("tcp://127.0.0.1:5555", "tcp://[::1]:5555")


def test_a_name_is_connected_to_by_name():
    assert str(endpoint_to_connect("localhost", 5555)) == "tcp://localhost:5555"


def test_ipv6_is_written_in_brackets():
    assert str(endpoint_to_bind("::1", 5555)) == str(endpoint_to_connect("[::1]", 5555)) == "tcp://[::1]:5555"


@pytest.mark.parametrize("address", ["", " ", "127.0.0.1\n", "tcp://127.0.0.1", "no such host", "a" * 300, "\0", "[]"])
def test_what_is_no_address_is_refused_with_the_value(address):
    with pytest.raises(ConfigError, match="Give one like") as raised:
        endpoint_to_bind(address, 0)

    assert repr(address) in str(raised.value)


@pytest.mark.parametrize("port", [-1, 65_536, True])
def test_what_is_no_port_is_refused_with_the_value(port):
    with pytest.raises(ConfigError, match=f"got {port}"):
        endpoint_to_bind("127.0.0.1", port)


def test_nobody_connects_to_port_0():
    with pytest.raises(ConfigError, match="from 1 to 65535, got 0"):
        endpoint_to_connect("127.0.0.1", 0)
