"""The keys of a stream: CURVE, which encrypts it and says who may read it. No key is ever shown in a message."""

import struct
from collections.abc import Collection

from ml.core.errors import ConfigError, missing

_Z85 = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")
_KEY_CHARACTERS = 40


def new_keys() -> tuple[str, str]:
    """Returns a new pair of CURVE keys, the public one and the secret one, each of 40 characters (Z85)."""
    check_installed()
    import zmq

    public, secret = zmq.curve_keypair()
    return public.decode("ascii"), secret.decode("ascii")


def public_key_of(secret_key: str) -> str:
    """Returns the public key that belongs to a secret one.

    Raises:
        ConfigError: It is no key; the message does not show it.
    """
    check_installed()
    import zmq

    return zmq.curve_public(key_bytes("A secret key", secret_key)).decode("ascii")


def key_bytes(name: str, key: str) -> bytes:
    """Returns a key as ZeroMQ takes it.

    Args:
        name: What it is, for the message, which does not show the key: a secret may be in the wrong place.
        key: 40 characters.

    Raises:
        ConfigError: It is none.
    """
    from zmq.utils import z85

    is_key = len(key) == _KEY_CHARACTERS and _Z85.issuperset(key)
    try:
        z85.decode(key.encode("ascii") if is_key else b"")
    except struct.error:  # five characters that are more than 32 bits
        is_key = False
    if not is_key:
        raise ConfigError(
            f"{name} is no CURVE key of {_KEY_CHARACTERS} characters (Z85), but {len(key)} characters. Make a pair with"
            " ml.io.stream_keys.new_keys()."
        )
    return key.encode("ascii")


def admitted(client_public_keys: Collection[str], secret_key: str | None) -> frozenset[bytes]:
    """Returns the keys of subscribers as ZeroMQ asks for them: 32 bytes each.

    Raises:
        ConfigError: One is none, or the publisher has no key itself.
    """
    from zmq.utils import z85

    if client_public_keys and secret_key is None:
        raise ConfigError("client_public_keys need the publisher's own secret key: without one nothing is checked.")
    return frozenset(z85.decode(key_bytes("One of client_public_keys", key)) for key in client_public_keys)


def client_keys(server_public_key: str | None, client_secret_key: str | None) -> tuple[bytes, bytes, bytes] | None:
    """Returns what a subscriber needs: the publisher's key, its own public and its own secret one, new if not given.

    Raises:
        ConfigError: One is none, or the publisher's is not known.
    """
    if server_public_key is None:
        if client_secret_key is not None:
            raise ConfigError("client_secret_key needs server_public_key: without it nothing is encrypted.")
        return None
    secret_key = new_keys()[1] if client_secret_key is None else client_secret_key
    server_key = key_bytes("server_public_key", server_public_key)
    return server_key, public_key_of(secret_key).encode("ascii"), secret_key.encode("ascii")


def check_installed() -> None:
    """Raises ``ConfigError`` where there is no ZeroMQ."""
    try:
        import zmq  # noqa: F401
    except ImportError as error:
        raise missing("The stream of predictions", "pyzmq", "stream", error) from None
