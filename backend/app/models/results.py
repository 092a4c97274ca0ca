"""The former place of `app.values.results`, for one more release."""

from __future__ import annotations

import warnings

from app.values.results import *  # noqa: F403

warnings.warn("app.models.results is now app.values.results", DeprecationWarning, stacklevel=2)
