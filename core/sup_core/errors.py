"""What the core raises at its local caller. Remote bytes never raise, they are dropped, counted."""


class SnapshotError(ValueError):
    """The bytes given to ``Node.load`` are no snapshot of this ring that this version can read."""


class LimitError(ValueError):
    """A value of the local caller is over a bound of ``limits``; says what, the value and the
    bound."""
