"""The rules of the state machine once more, written by hand, to compare the code with."""

from __future__ import annotations

STARTS = """
                            processing  export    adf_validation
nothing                     first       order     order
processing      running     busy        busy      busy
processing      completed   done        next      done
processing      failed      again       other     other
processing      cancelled   same        other     other
export          running     busy        busy      busy
export          completed   done        done      next
export          failed      other       again     other
export          cancelled   other       same      other
adf_validation  running     busy        busy      busy
adf_validation  completed   done        done      done
adf_validation  failed      other       other     again
adf_validation  cancelled   other       other     same
"""
REFUSED = {
    "order": ("TaskValidationError", "user_fixable", "A session begins with processing"),
    "busy": ("TaskConflict", "user_fixable", "is already running"),
    "done": ("TaskValidationError", "user_fixable", "Cannot modify completed task"),
    "other": ("TaskValidationError", "user_fixable", "Cannot start"),
    "used up": ("TaskValidationError", "admin_required", "Maximum retry attempts exceeded"),
}
TYPES = ("processing", "export", "adf_validation")
NEXT = {"processing": "export", "export": "adf_validation"}


def _table() -> dict[tuple[str, str], str]:
    rows = [line.split() for line in STARTS.strip().splitlines()]
    columns = rows[0]
    table: dict[tuple[str, str], str] = {}
    for row in rows[1:]:
        state, cells = " ".join(row[: -len(columns)]), row[-len(columns) :]
        table |= {(state, column): cell for column, cell in zip(columns, cells, strict=True)}
    return table


TABLE = _table()


class ByHand:
    """The third statement of the rules: what a session must look like."""

    def __init__(self, *, advances: bool) -> None:
        self.advances = advances
        self.stage = "created"
        self.task_type = ""
        self.status = ""
        self.count = 0
        self.failures: list[str] = []  # of this task, the latest last; empty once it completed
        self.attempts: list[int] = []

    def start(self, task_type: str) -> str:
        """How a start ends: a word of the table."""
        word = TABLE[f"{self.task_type} {self.status}".strip() or "nothing", task_type]
        if word in {"again", "other"} and self.status == "failed" and self.count == 3:
            word = "used up"
        if word in {"first", "next"}:
            self.count, self.failures, self.attempts = 0, [], []
        if word in {"first", "next", "again", "same"}:
            self.task_type = self.stage = task_type
            self.status = "running"
        return word

    def complete(self) -> bool:
        """Whether it completed; where sessions advance, the next is running then."""
        if self.status != "running":
            return False
        self.status, self.failures, self.attempts = "completed", [], []
        if self.task_type == "adf_validation":
            self.stage = "completed"
        elif self.advances:
            assert self.start(NEXT[self.task_type]) == "next"
        return True

    def fail(self, message: str) -> bool:
        if self.status != "running":
            return False
        self.status = "failed"
        self.count += 1
        self.failures = [*self.failures, message][-3:]
        self.attempts = [*self.attempts, self.count][-3:]
        return True

    def cancel(self) -> bool:
        if self.status != "running":
            return False
        self.status = "cancelled"
        return True
