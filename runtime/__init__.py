"""Streaming inference without PyTorch: one ``Session``, several backends."""

from ssmith.runtime.session import Session as Session
