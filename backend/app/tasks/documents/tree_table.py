"""A tree as Azure DevOps exports it: a column of titles for each level, read as one, with parents.

::

    ID,Title 1,Title 2        ID,Title,Parent
    1,Shop,                   1,Shop,
    2,,Pay            →       2,Pay,1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_TITLE, _ID, _PARENT = "Title", "ID", "Parent"


def flat_records(
    header: Sequence[str], records: Callable[[], Iterator[list[str]]]
) -> Callable[[], Iterator[list[str]]] | None:
    """Return records, the header first, with one column of titles and the parent's id.

    None where there are no such columns. A table that names parents itself gets no other.
    """
    places = {name.casefold(): at for at, name in reversed(list(enumerate(header)))}
    levels: list[int] = []
    while (at := places.get(f"title {len(levels) + 1}")) is not None:
        levels.append(at)
    if not levels:
        return None
    id_at = places.get(_ID.casefold())
    has_parents = id_at is not None and _PARENT.casefold() not in places

    def flat() -> Iterator[list[str]]:
        rows = records()
        named = [*next(rows)]
        named[levels[0]] = _TITLE
        yield [*_without(named, levels[1:]), *([_PARENT] if has_parents else [])]
        above: list[str] = []
        for cells in rows:
            whole = [*cells, *[""] * (len(header) - len(cells))]
            level = next((n for n, at in enumerate(levels) if whole[at].strip()), 0)
            whole[levels[0]] = whole[levels[level]]
            parent = above[level - 1] if 0 < level <= len(above) else ""
            if has_parents and id_at is not None:
                above[level:] = [*[""] * (level - len(above)), whole[id_at].strip()]
            kept = _without(whole[: len(header)], levels[1:])
            yield [*kept, *([parent] if has_parents else []), *whole[len(header) :]]

    return flat


def _without(cells: Sequence[str], places: Sequence[int]) -> list[str]:
    return [cell for at, cell in enumerate(cells) if at not in places]
