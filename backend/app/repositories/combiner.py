"""The former names of `app.repositories.batcher`, for one more release."""

from __future__ import annotations

import warnings

from app.repositories.batcher import AsyncTransitionBatcher as AsyncTransitionCombiner
from app.repositories.batcher import TransitionBatcher as TransitionCombiner

__all__ = ["AsyncTransitionCombiner", "TransitionCombiner"]

warnings.warn(
    "app.repositories.combiner is now app.repositories.batcher: TransitionBatcher, "
    "AsyncTransitionBatcher",
    DeprecationWarning,
    stacklevel=2,
)
