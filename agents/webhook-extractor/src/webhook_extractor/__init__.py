"""Turns signed webhook deliveries into validated support cases."""
