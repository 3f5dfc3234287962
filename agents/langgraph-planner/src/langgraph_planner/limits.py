"""The end of a run that reached a limit: the response is `incomplete`, with the limit's name as its reason."""


class LimitReached(Exception):
    """`reason` is the name of the setting in lower case; `message` says to the user what was reached."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
