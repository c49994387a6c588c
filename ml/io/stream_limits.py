"""What both ends of a live stream keep to."""

from ml.core.errors import ConfigError

MAX_MESSAGE_BYTES = 64 * 2**20 + 4096
"""What a reader accepts: the largest record, and what its publisher adds."""

MAX_TOPIC_BYTES = 255

HANDSHAKE_MS = 2_000
HEARTBEAT_MS = 2_000
CUT_AFTER_MS = 10_000
"""A peer from which nothing is heard for so long, or that takes nothing, is cut."""


def topic_bytes(topic: str) -> bytes:
    """Returns a topic as it is sent.

    Raises:
        ConfigError: It is empty, or too long.
    """
    raw = topic.encode("utf-8", "surrogateescape")
    if not 1 <= len(raw) <= MAX_TOPIC_BYTES:
        raise ConfigError(f"A topic is 1 to {MAX_TOPIC_BYTES} bytes of UTF-8, got {len(raw)}: {topic[:40]!r}.")
    return raw


def at_least_one(name: str, value: int) -> int:
    """Returns a number that has to be at least 1.

    Raises:
        ConfigError: It is not.
    """
    if value < 1:
        raise ConfigError(f"{name} is at least 1, got {value}.")
    return value
