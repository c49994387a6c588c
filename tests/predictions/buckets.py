"""A store in memory that a test can take away, have refuse, or stop in the middle."""

from ml.core.errors import WriteError
from ml.io.store import Refused
from ml.io.worker import Lock


class Bucket:
    """Keeps objects in the order in which they were made; each call first does as it is told.

    Attributes:
        objects: By key.
        error: What every call raises; ``None``: it does not.
        error_after: What every call raises once it has stored the object.
        by_key: What calls for single keys raise, each once.
        gate: Where every call waits.
        gates: Where calls for single keys wait.
        calls: The keys of the calls so far.
        most_at_once: How many calls were inside at one time.
        opened: How often it was opened.
    """

    url = "s3://bucket"

    def __init__(self):
        self.objects = {}
        self.error = self.error_after = self.gate = None
        self.by_key, self.gates = {}, {}
        self.calls = []
        self.most_at_once = self.opened = self._inside = 0
        self._lock = Lock()

    def open(self):
        self.opened += 1
        return self

    def create(self, key, data):
        with self._lock:
            self.calls.append(key)
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
        try:
            if (gate := self.gates.get(key, self.gate)) is not None:
                gate.wait()
            return self._create(key, data)
        finally:
            with self._lock:
                self._inside -= 1

    def _create(self, key, data):
        error = self.by_key.pop(key, None) or self.error
        if error is not None:
            raise error
        with self._lock:
            is_new = key not in self.objects
            stored = self.objects.setdefault(key, data)
        if self.error_after is not None:
            raise self.error_after
        return is_new or stored == data


AWAY = WriteError("connection refused")
REFUSED = Refused("403 Forbidden.")
