"""How long a caller wants to wait for a result: the `Prefer` header of RFC 7240."""

import re

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,6})"?\s*(?:$|[,;])', re.IGNORECASE)
_ASYNC = re.compile(r"(?:^|[,;])\s*respond-async\s*(?:$|[,;])", re.IGNORECASE)


def seconds_to_wait(prefer: str, *, default: float, longest: float) -> float:
    """What `prefer` asks for, at most `longest`; `default` where it asks for nothing that we know."""
    if found := _WAIT.search(prefer):
        return min(float(found[1]), longest)
    return 0.0 if _ASYNC.search(prefer) else min(default, longest)
