"""PostgreSQL without a server to set up: one per data directory, shared by every command.

`locks` counts the users, `place` has the files and their owner, `binaries` which
PostgreSQL to run, `cluster` how to start and stop it; `server` is what the rest of the program
uses. Why it is built like this: `docs/decisions/embedded-postgresql.md`.
"""

from app.core.embedded.binaries import OLDEST_MAJOR, Binaries, find_binaries
from app.core.embedded.server import EmbeddedServer, is_in_use

__all__ = ["OLDEST_MAJOR", "Binaries", "EmbeddedServer", "find_binaries", "is_in_use"]
