"""How each family of detectors is read: one module a family, found by ``detect``."""
