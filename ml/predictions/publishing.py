"""Passes records on to whoever subscribes to them, live: a sink that keeps nothing.

Every record is given the number that it has in this stream, and the random number of the stream, so a subscriber
counts what it has missed, and knows a publisher that was restarted from one that goes on. Subscribers of the published
``babylog`` 0.0.3 read the same stream.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from ml.core.config import conf_field
from ml.io.stream import ATTEND_S, MAX_QUEUED, MAX_QUEUED_BYTES, MAX_SUBSCRIBERS, Publisher
from ml.predictions.record import Record, numbered
from ml.predictions.sink import MAX_FLUSH_S, WRITTEN, Outcome


@dataclass
class StreamConfig:
    """Records to subscribers.

    Attributes:
        address: Where to listen. Anything but the loopback needs ``server_secret_key``.
        port: 0 for any that is free; ``StreamSink.port`` says which.
        topic: What subscribers ask for; ``""``: the name of the device.
        server_secret_key: Encrypts the stream (CURVE). ``ml.io.stream_keys.new_keys()`` makes one, and the public key
            that every subscriber needs then.
        client_public_keys: The keys of those who may subscribe; empty: everyone who has the public key.
        max_subscribers: Connections at once.
        max_queued: Records that wait for one subscriber; further ones it misses, and knows.
        max_queued_bytes: Their size.
    """

    address: str = "127.0.0.1"
    port: int = 0
    topic: str = ""
    server_secret_key: str | None = field(default=None, repr=False)
    client_public_keys: list[str] = conf_field(list)
    max_subscribers: int = MAX_SUBSCRIBERS
    max_queued: int = MAX_QUEUED
    max_queued_bytes: int = MAX_QUEUED_BYTES


class StreamSink:
    """Publishes records. Handed to ZeroMQ is written: who subscribes, and what arrives, is not known.

    Listens as soon as it is made; subscribers are admitted by ``idle``, which has to be called from then on.

    Args:
        config: Where to listen, and who may read.
        device_name: The topic, where ``config`` names none.

    Attributes:
        publisher: The stream.
        stream_id: Random, of 64 bits.

    Raises:
        ConfigError: No ZeroMQ, or a setting is wrong, or the port is taken.
    """

    name = "stream"

    def __init__(self, config: StreamConfig, device_name: str) -> None:
        self.stream_id = secrets.randbits(64)
        self._sequence = 0
        self.publisher = Publisher(
            config.address,
            config.port,
            config.topic or device_name,
            secret_key=config.server_secret_key,
            client_public_keys=config.client_public_keys,
            max_subscribers=config.max_subscribers,
            max_queued=config.max_queued,
            max_queued_bytes=config.max_queued_bytes,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.publisher.port

    def write(self, records: Sequence[Record]) -> list[Outcome]:
        """Publishes records; see ``Sink.write``. Never waits for a subscriber."""
        for record in records:
            self.publisher.send(numbered(record.data, self.stream_id, self._sequence))
            self._sequence += 1
        return [WRITTEN] * len(records)

    def idle(self) -> float | None:
        """Admits whoever wants to subscribe."""
        self.publisher.attend()
        return ATTEND_S

    def flush(self, timeout_s: float = MAX_FLUSH_S) -> None:
        """Does nothing: what was written is on its way, and nobody says when it has arrived."""

    def close(self) -> None:
        """Ends the stream, after at most a second in which subscribers are sent what waits for them."""
        self.publisher.close()
