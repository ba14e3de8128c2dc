"""Owns the errors that ports may raise; anything else is a bug."""


class StoreBusy(Exception):
    """The store cannot commit now (locked, unreachable, disk full): nothing happened, try later."""


class StoreInDoubt(StoreBusy):
    """The connection was lost at the commit: whether it took place is not known. Asking again must be harmless."""


class StoreRejected(Exception):
    """The store refuses these rows (a value it cannot hold): nothing happened, trying again does not help."""


class StoreConflict(Exception):
    """A name or id is already taken: nothing happened."""


class StoreUnfit(Exception):
    """The store cannot be used as it is (its URL, its version, its schema, its roles); the words say what to do."""


class ControlRefused(Exception):
    """SES's control plane said no to a change; the words are SES's own."""


class ControlBusy(Exception):
    """SES's control plane throttles or cannot be reached: the change is tried again later."""


class FeedUnavailable(Exception):
    """The event queue cannot be read now."""
