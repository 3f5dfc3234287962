"""Turns signed webhook deliveries into validated support cases."""

__version__ = "0.1.0"
