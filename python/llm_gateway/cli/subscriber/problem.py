"""What keeps a subscriber's command from doing what it was asked."""


class ProblemError(Exception):
    """A sentence for the person: what is wrong, and what to do. It holds no token."""


class UnreachableError(ProblemError):
    """The gateway gave no answer: it may do so a moment later."""
