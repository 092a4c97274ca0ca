"""Clusters that lie elsewhere than in their data directory, and outlived it.

Only root has such clusters (see `place`), all of them in `STATE_DIRECTORY`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.embedded import cluster
from app.core.embedded.binaries import remove_unused_copies
from app.core.embedded.locks import FileLock, decide_alone, is_held
from app.core.embedded.place import STATE_DIRECTORY, Place, account_of, read_own_file

if TYPE_CHECKING:
    from collections.abc import Iterator

DECISION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class AbandonedCluster:
    """A cluster that no data directory leads to, and that nobody uses.

    Attributes:
        home: where it lies.
        data_dir: whose it was.
        is_removable: whether the disk of the data directory is the one that it was on: where it is
            not mounted, the data directory may come back.

    """

    home: Path
    data_dir: Path
    is_removable: bool

    def remove(self) -> None:
        """End the server, if it idles still, and remove the cluster.

        Raises:
            DatabaseUnavailable: another command starts or stops it, or it does not end.

        """
        place = Place(self.home, account_of(self.home.stat().st_uid))
        with (
            decide_alone(place.decision_lock, DECISION_SECONDS),
            FileLock(place.users_lock) as lock,
        ):
            if lock.try_alone():
                cluster.shut_down(place)
                shutil.rmtree(self.home)


def abandoned_clusters() -> Iterator[AbandonedCluster]:
    """Give every cluster of this machine that this account may remove."""
    for note in sorted(STATE_DIRECTORY.glob("*/belongs-to")):
        home = note.parent
        try:
            data_dir, _, device = read_own_file(note).rstrip("\n").rpartition("\ndevice ")
        except OSError:  # a link, or another account's
            continue
        entry = Path(data_dir) / "postgresql"
        if home.is_symlink() or not data_dir or entry.resolve() == home:
            continue
        users = home / "users.lock"
        if users.exists() and is_held(users):
            continue
        there_is = next(path for path in entry.parents if path.exists())
        yield AbandonedCluster(home, Path(data_dir), str(there_is.stat().st_dev) == device)


def remove_abandoned() -> list[AbandonedCluster]:
    """Remove what can be removed, and the copies of binaries that nobody runs; return what it was.

    Raises:
        DatabaseUnavailable: as `AbandonedCluster.remove`.

    """
    removable = [one for one in abandoned_clusters() if one.is_removable]
    for one in removable:
        one.remove()
    remove_unused_copies()
    return removable
