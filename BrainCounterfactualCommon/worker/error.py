"""What can go wrong with the worker, in words for the user."""


class WorkerError(Exception):
    """What went wrong, in words for the user: ``className, what, cause, action`` (also by index)."""

    def __init__(self, className, what, cause="", action=""):
        super().__init__(what)
        self.className, self.what, self.cause, self.action = className, what, cause, action

    def __getitem__(self, name):
        return self.asDict()[name]

    def asDict(self):
        return {"className": self.className, "what": self.what, "cause": self.cause, "action": self.action}

    def __str__(self):
        return "\n".join(line for line in (self.what, self.cause, self.action) if line)


def died(how, lines):
    """The worker's end; ``lines``: the last it wrote on stderr."""
    cause = " ".join([how, *(["It last said:", *lines[-3:]] if lines else [])])
    return WorkerError("WorkerDiedError", "The worker ended unexpectedly.", cause, "Try again: it is started anew.")


def asError(error):
    """An error event's facts, or an error already, as :class:`WorkerError`."""
    if isinstance(error, WorkerError):
        return error
    return WorkerError(*(str(error.get(k, "")) for k in ("class", "what", "cause", "action")))
