"""The words of Tidegate's error envelope that a tool may use. The list only grows."""

from typing import Final

BACKEND_UNAVAILABLE: Final = "backend_unavailable"
"""A system behind the tool does not answer."""

BACKEND_TIMEOUT: Final = "backend_timeout"
"""A system behind the tool took too long; what it did is not known."""

RATE_LIMITED: Final = "rate_limited"
"""Too many requests; later ones will work."""

PERMISSION_DENIED: Final = "permission_denied"
"""The caller may not do this."""

INVALID_ARGUMENTS: Final = "invalid_arguments"
"""The arguments make no sense; other ones would."""

CANCELLED: Final = "cancelled"
"""The caller gave up, and the tool stopped."""

CONFLICT: Final = "conflict"
"""What was asked for contradicts the state of things, such as paying what is already paid."""

NOT_FOUND: Final = "not_found"
"""What was asked for does not exist."""

FAILED: Final = "failed"
"""Anything else."""
