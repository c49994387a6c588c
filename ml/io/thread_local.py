"""What every thread has for itself, as an attribute of one object."""

import threading

__all__ = ["ThreadLocal"]

ThreadLocal = threading.local
