"""How long a worker has been silent that owes an answer."""

import time

ASK_SECONDS, SILENT_SECONDS, START_SECONDS = 30.0, 120.0, 600.0
"""When it is asked whether it is there; when it counts as hung; the same before its first word (torch loads slowly)."""


class Silence:
    """A clock that runs while an answer is owed, from poll to poll.

    Polls far apart are no silence of the worker: the application was busy, or the computer slept.
    """

    def __init__(self):
        self._seconds, self._polled, self._asked = 0.0, time.monotonic(), False

    def broken(self):
        """Something was heard, or nothing is owed."""
        self._seconds, self._asked = 0.0, False

    def tick(self, limit, now=None):
        """One poll. Returns ``"ask"`` once, when it is time to, ``"over"`` past the limit, else ``""``."""
        now = time.monotonic() if now is None else now
        elapsed, self._polled = now - self._polled, now
        self._seconds += min(max(elapsed, 0.0), 1.0)
        if self._seconds > limit:
            return "over"
        if self._seconds > ASK_SECONDS and not self._asked:
            self._asked = True
            return "ask"
        return ""
