"""Filters of the list of sessions, as an address and as a database query."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query

from app.api.resources import SafeText
from app.api.services import Caller
from app.core.errors import ErrorCategory
from app.repositories.session_queries import SessionFilter, SessionOrder
from app.values.states import SessionStage, TaskStatus, TaskType

if TYPE_CHECKING:
    from app.repositories.access_repository import Principal

Choice = TypeVar("Choice", bound=Enum)


class Age(str, Enum):
    """The maximum age of a session."""

    HOUR = "1h"
    DAY = "1d"
    WEEK = "7d"


AGES = {
    Age.HOUR: (timedelta(hours=1), "The last hour"),
    Age.DAY: (timedelta(days=1), "The last day"),
    Age.WEEK: (timedelta(days=7), "The last 7 days"),
}


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of one address; None and "" match everything."""

    q: str = ""
    owner: str = ""
    status: TaskStatus | None = None
    stage: SessionStage | None = None
    task_type: TaskType | None = None
    category: ErrorCategory | None = None
    error: str = ""
    age: Age | None = None
    sort: SessionOrder | None = None

    @property
    def narrows(self) -> bool:
        """Whether any filter is set; the order of the list is not one."""
        return bool(self.chosen.keys() - {"sort"})

    @property
    def order(self) -> SessionOrder:
        """The order of the list."""
        return self.sort or SessionOrder.NEWEST

    def sorted_address(self, *choices: str) -> str:
        """Return the list's address in the first of these orders, or the second if it is set."""
        orders = [SessionOrder(choice) for choice in choices]
        order = orders[1] if self.order is orders[0] else orders[0]
        return replace(self, sort=None if order is SessionOrder.NEWEST else order).address

    @property
    def chosen(self) -> dict[str, str]:
        """The filters that are set, for an address or hidden fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.value if isinstance(value, Enum) else value
            for name, value in values.items()
            if value
        }

    def owner_seen(self, caller: Principal) -> str | None:
        """Return the owner whose sessions match; None: all owners."""
        return caller.sees or self.owner or None

    @property
    def address(self) -> str:
        """Return the address of the list with these filters."""
        return f"/sessions?{urlencode(self.chosen)}" if self.chosen else "/sessions"

    @property
    def count_address(self) -> str:
        """Return the address of the number of sessions that match."""
        return self.address.replace("/sessions", "/sessions/count", 1)

    def page_address(self, token: str) -> str:
        """Return the address of a later page of the list with these filters."""
        return f"/sessions?{urlencode({**self.chosen, 'page_token': token})}"

    def wanted(self) -> SessionFilter:
        """Return the filters as a database query's."""
        span = AGES[self.age][0] if self.age is not None else None
        return SessionFilter(
            stage=self.stage,
            status=self.status,
            task_type=self.task_type,
            created_after=datetime.now(UTC) - span if span is not None else None,
            text=self.q or None,
            category=self.category,
            error=self.error or None,
        )


async def _filters(  # noqa: PLR0913, PLR0917 - one filter each
    caller: Caller,
    q: Annotated[SafeText, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=20)] = "",
    stage: Annotated[str, Query(max_length=20)] = "",
    task_type: Annotated[str, Query(max_length=20)] = "",
    category: Annotated[str, Query(max_length=20)] = "",
    error: Annotated[SafeText, Query(max_length=200)] = "",
    age: Annotated[str, Query(max_length=5)] = "",
    owner: Annotated[SafeText, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=20)] = "",
) -> Filters:
    """Return the filters of the address; a form sends unset ones as empty.

    Only administrators choose among owners; for others that filter has no effect.
    """
    return Filters(
        q=q.strip(),
        owner=owner if caller.sees is None else "",
        status=_chosen(TaskStatus, status),
        stage=_chosen(SessionStage, stage),
        task_type=_chosen(TaskType, task_type),
        category=_chosen(ErrorCategory, category),
        error=error,
        age=_chosen(Age, age),
        sort=_chosen(SessionOrder, sort),
    )


FiltersOf = Annotated[Filters, Depends(_filters)]


def _chosen(kind: type[Choice], value: str) -> Choice | None:
    """Return the member of that value; an unknown value filters nothing."""
    return next((member for member in kind if member.value == value), None)
