"""Clusters outside their data directory that outlived it: root's, in `STATE_DIRECTORY`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.embedded import cluster
from app.core.embedded.binaries import remove_unused_copies
from app.core.embedded.locks import FileLock, is_held
from app.core.embedded.server_directory import (
    STATE_DIRECTORY,
    ServerDirectory,
    account_of,
    read_own_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTUP_LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class AbandonedCluster:
    """A cluster that no data directory leads to, and that no process uses.

    Attributes:
        is_removable: whether the data directory's disk is the one that it was on. If that is only
            unmounted, the data directory may come back.

    """

    home: Path
    data_dir: Path
    is_removable: bool

    def remove(self) -> None:
        """Stop the server, if it still runs, and remove the cluster.

        Raises:
            DatabaseUnavailable: another command starts or stops it, or it does not stop.

        """
        directory = ServerDirectory(self.home, account_of(self.home.stat().st_uid))
        with (
            directory.startup_locked(STARTUP_LOCK_SECONDS),
            FileLock(directory.clients_lock) as clients,
        ):
            if clients.try_alone():
                cluster.shut_down(directory)
                shutil.rmtree(self.home)


def abandoned_clusters() -> Iterator[AbandonedCluster]:
    """Yield every abandoned cluster of this machine that this account may remove."""
    for note in sorted(STATE_DIRECTORY.glob("*/belongs-to")):
        home = note.parent
        try:
            data_dir, _, device = read_own_file(note).rstrip("\n").rpartition("\ndevice ")
        except OSError:  # a link, or another account's
            continue
        entry = Path(data_dir) / "postgresql"
        if home.is_symlink() or not data_dir or entry.resolve() == home:
            continue
        clients_lock = ServerDirectory(home, None).clients_lock
        if clients_lock.exists() and is_held(clients_lock):
            continue
        there_is = next(path for path in entry.parents if path.exists())
        yield AbandonedCluster(home, Path(data_dir), str(there_is.stat().st_dev) == device)


def remove_abandoned() -> list[AbandonedCluster]:
    """Remove abandoned clusters, and unused copies of binaries; return the clusters.

    Raises:
        DatabaseUnavailable: as `AbandonedCluster.remove`.

    """
    removable = [one for one in abandoned_clusters() if one.is_removable]
    for one in removable:
        one.remove()
    remove_unused_copies()
    return removable
