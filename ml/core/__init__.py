"""What everything else stands on: errors, configuration, registries, state, the run's context and redaction.

Standard library and omegaconf only: no torch, no thread, no file is written here.
"""
