"""The error for what the offline model cannot do, which every module of it may raise."""


class CannotDo(Exception):
    """Raised when the offline model is asked for what it cannot do; the message says what and why."""
