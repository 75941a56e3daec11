"""Secrets: who knows them, and how they are kept out of what is written.

A definition holds ``${secrets.NAME}``, a reference. The value is asked of a provider each time an action is called, and
is taken out of all that the action gives before anything is recorded or shown.
"""

from __future__ import annotations

from treadle.secrets.masking import LEAST_CHARS, MOST_CHARS, Mask
from treadle.secrets.providers import EnvironmentSecrets, FileSecrets, SecretProvider, Secrets, as_provider, described

__all__ = [
    "LEAST_CHARS",
    "MOST_CHARS",
    "EnvironmentSecrets",
    "FileSecrets",
    "Mask",
    "SecretProvider",
    "Secrets",
    "as_provider",
    "described",
]
