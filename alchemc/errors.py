"""The exceptions of alchemc: one small tree, so that callers can catch what they mean."""

__all__ = [
    "AlchemcError",
    "ConvergenceError",
    "InputError",
    "ModelError",
    "StoredRunError",
]


class AlchemcError(Exception):
    """Base of every error raised on purpose; its message is one line with a remedy."""


class InputError(AlchemcError, ValueError):
    """A value given by the user cannot be used."""


class ModelError(AlchemcError):
    """A potential cannot be loaded, is not covered, or does not know a species."""


class StoredRunError(AlchemcError):
    """A run directory is missing, damaged, locked or of an unknown format."""


class ConvergenceError(AlchemcError):
    """A result was asked for that the samples do not support."""
