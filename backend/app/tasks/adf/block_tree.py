"""ADF's blocks as a stack of open containers that keeps to Atlassian's schema at every step.

`MAY_HOLD` says what may stand where. A block that its container may not hold is moved out: the
containers below the nearest one that may hold it are closed before the block and opened again
after it. So a table in a list stays a table, between the two halves of the list; nothing is
dropped and the order of the text never changes. Two kinds of block are rewritten instead, because
moving them out would tear their surroundings apart: a heading in a list or quote becomes a bold
paragraph, a rule there a paragraph of dashes.
"""

from __future__ import annotations

from typing import Any

from app.core.errors import DocumentError
from app.tasks.adf.table_layout import lay_out, nested_tables_resolved

Node = dict[str, Any]

MOST_NESTING = 120
"""The deepest nesting, whatever is asked for: a level of lists is four of JSON, and `validation`
stops at 500."""

PLAIN_LISTS = frozenset({"bulletList", "orderedList"})
_ITEMS = frozenset({"listItem", "taskItem"})
_IN_ITEM = frozenset({"paragraph", "codeBlock", "mediaSingle", "taskList"}) | PLAIN_LISTS
_ALIGNABLE = frozenset({"paragraph", "heading"})
_IN_PANEL = _IN_ITEM | {"heading", "rule"}
_IN_NESTED_EXPAND = _IN_PANEL | {"panel", "blockquote"}

MAY_HOLD: dict[str, frozenset[str]] = {
    "doc": _IN_NESTED_EXPAND | {"table", "expand"},
    "blockquote": _IN_ITEM - {"taskList"},
    "panel": _IN_PANEL,
    "expand": _IN_NESTED_EXPAND | {"table", "expand"},  # where it becomes a nestedExpand
    "nestedExpand": _IN_NESTED_EXPAND,
    "bulletList": frozenset({"listItem"}),
    "orderedList": frozenset({"listItem"}),
    "taskList": frozenset({"taskItem", "taskList"}),
    "listItem": _IN_ITEM,
    "taskItem": frozenset({"paragraph"}),  # one, whose text becomes the item's
    "table": frozenset({"tableRow"}),
    "tableRow": frozenset({"tableCell", "tableHeader"}),
    # A table within a cell is resolved when the outer table closes: `nested_tables_resolved`.
    "tableCell": _IN_NESTED_EXPAND | {"table", "expand"},
    "tableHeader": _IN_NESTED_EXPAND | {"table", "expand"},
    "group": _IN_NESTED_EXPAND | {"table", "expand"},  # ours: a caption, a summary
}
_ALIGNS = frozenset({"doc", "tableCell", "tableHeader"})
_NESTING = PLAIN_LISTS | {"blockquote", "taskList"}
_LEFT_OUT_EMPTY = PLAIN_LISTS | {"taskList", "group"}
_STRAY: Node = {"stray": True}
"""Marks an item that no tag opened; an item has no attributes of its own."""

PANEL_LABELS = {
    "info": "Note", "success": "Tip", "note": "Important", "warning": "Warning", "error": "Caution",
}  # fmt: skip
"""What a panel says of which nothing else is left: a table was all that stood in it."""

_RULE_AS_TEXT = "———"
_STRONG: Node = {"type": "strong"}
_NOT_WITH_STRONG = frozenset({"strong", "code"})


class Frame:
    """A container that is open.

    Attributes:
        kind: the ADF type it becomes.
        content: its blocks, items, rows or cells so far.
        attributes: its ADF attributes.
        reopened: containers to open again once this one is closed, the innermost first.
        is_rest: whether it continues a container that a moved block has split.
        leading: of a list: what continues an item of the half before it.
        origin: the same object in all continuations of one frame.

    """

    # Defaults of the class: most frames never have them, and there is one for every item.
    reopened: list[Frame] | None = None
    leading: list[Node] | None = None
    is_rest = False

    def __init__(self, kind: str, attributes: Node | None = None) -> None:
        self.kind = kind
        self.content: list[Node] = []
        self.attributes = attributes
        self.origin: object = self.content  # itself would be a circle, and wait for the collector

    def continued(self) -> Frame:
        """Return an empty frame that goes on where this one, which was just closed, ended."""
        attributes = self.attributes
        if self.kind == "orderedList" and attributes is not None:
            attributes = {"order": attributes["order"] + len(self.content)}
        copy = Frame(self.kind, attributes)
        copy.is_rest = True
        copy.reopened = self.reopened
        copy.origin = self.origin
        return copy


class BlockTree:
    """Builds the blocks of one document.

    Args:
        max_nesting: how deep lists and quotes may nest; `MOST_NESTING` at most.

    """

    def __init__(self, max_nesting: int) -> None:
        self.root = Frame("doc")
        self.top = self.root
        self._stack = [self.root]
        self._max_nesting = min(max_nesting, MOST_NESTING)
        self._nesting = 0
        self._task_count = 0
        self.node_count = 0

    @property
    def in_list(self) -> bool:
        """Whether an item may be opened here."""
        top = self.top
        return top.kind in PLAIN_LISTS or top.kind == "taskList" or top.attributes is _STRAY

    @property
    def is_in_task(self) -> bool:
        """Whether the next line is the text of a task, which holds no block."""
        return self.top.kind == "taskItem" and not self.top.is_rest and not self.top.content

    @property
    def may_align(self) -> bool:
        """Whether a paragraph here may carry an alignment mark."""
        return self.top.kind in _ALIGNS

    def next_local_id(self) -> str:
        """Return an id that is unique in the document and the same in every run."""
        self._task_count += 1
        return f"task-{self._task_count}"

    def add(self, node: Node) -> None:
        """Add a finished block where it may stand."""
        kind = node["type"]
        top = self.top
        self.node_count += 1
        if kind in MAY_HOLD[top.kind] and not (top.kind == "taskItem" and top.content):
            top.content.append(node)
            return
        if kind == "heading" and self._is_in("blockquote", "listItem", "taskItem"):
            self.add({"type": "paragraph", "content": strengthened(node["content"])})
        elif kind == "rule" and self._is_in("blockquote", "listItem", "taskItem"):
            self.add({"type": "paragraph", "content": [text_node(_RULE_AS_TEXT)]})
        elif top.kind in PLAIN_LISTS:
            self._open_item_for_stray()
            self.add(node)
        elif kind == "paragraph" and top.kind == "taskItem" and top.is_rest:
            top.content.append(node)
        else:
            suspended = self._make_room_for(kind)
            self.top.content.append(node)
            self._reopen(suspended)

    def add_all(self, nodes: list[Node]) -> None:
        """Add blocks that stood in another container, each where it may stand."""
        for node in nodes:
            if node["type"] in _ALIGNABLE and "marks" in node and not self.may_align:
                self.add({name: value for name, value in node.items() if name != "marks"})
            elif node["type"] in {"expand", "nestedExpand"}:
                self.open("expand", node["attrs"])
                self.add_all(node["content"])
                self.close(self.top)
            else:
                self.add(node)

    def open(self, kind: str, attributes: Node | None = None) -> Frame:
        """Open a container; what may not hold it is closed until `close` is called for it.

        Raises:
            DocumentError: lists and quotes nest too deeply.

        """
        if kind in _NESTING:
            self._nesting += 1
            if self._nesting > self._max_nesting:
                raise _too_deep(self._max_nesting)
        if self.top.kind in PLAIN_LISTS and kind != "listItem":
            self._open_item_for_stray()
        suspended = self._make_room_for(kind)
        if kind == "expand" and self.top.kind not in {"doc", "group"}:
            kind = "nestedExpand"
        frame = Frame(kind, attributes)
        frame.reopened = suspended
        self._push(frame)
        return frame

    def close(self, opened: Frame) -> None:
        """Close the container, or its continuation, and whatever is still open within it."""
        if self.top is not opened:
            frame = next(
                (one for one in reversed(self._stack) if one.origin is opened.origin), None
            )
            if frame is None:
                return
            while self.top is not frame:
                self._pop()
        self._pop()

    def finish(self) -> list[Node]:
        """Close whatever is open; return the document's blocks."""
        while self.top is not self.root:
            self._pop()
        return self.root.content

    def open_item(self, task_state: str | None) -> Frame:
        """Open an item of the innermost list: a task (`TODO`, `DONE`), or a plain one (None).

        A list of both kinds is split into lists of one kind each.
        """
        if self.top.kind == "listItem" and self.top.attributes is _STRAY:
            self._pop()
        listing = self.top
        if task_state is None:
            if listing.kind == "taskList":
                self._switch_list("bulletList")
        elif listing.kind == "bulletList" and "taskList" in MAY_HOLD[self._stack[-2].kind]:
            self._switch_list("taskList")
        frame = Frame("listItem" if self.top.kind != "taskList" else "taskItem")
        self._push(frame)
        if task_state is not None:
            if frame.kind == "listItem":  # a number, or a bullet in a quote, and a check box in it
                self.open("taskList", {"localId": self.next_local_id()})
                self._push(Frame("taskItem"))
            self.top.attributes = {"localId": self.next_local_id(), "state": task_state}
        return frame

    def _switch_list(self, kind: str) -> None:
        """Have the innermost list, which has no open item, go on as one of another kind."""
        listing = self.top
        attributes = {"localId": self.next_local_id()} if kind == "taskList" else None
        if listing.content or kind not in MAY_HOLD[self._stack[-2].kind]:
            self._pop(is_suspended=True)
            listing = listing.continued()
            listing.reopened = [*(listing.reopened or ()), *self._make_room_for(kind)]
            self._push(listing)
        listing.kind, listing.attributes = kind, attributes

    def detach(self, kind: str) -> Frame:
        """Open a container whose content is taken by the caller, not added to the document."""
        frame = Frame(kind)
        self._push(frame)
        return frame

    def take(self, frame: Frame) -> list[Node]:
        """Close a detached container and return what is in it."""
        while self.top is not frame:
            self._pop()
        self._stack.pop()
        self.top = self._stack[-1]
        return frame.content

    def add_above(self, blocks: list[Node]) -> None:
        """Add blocks before the innermost container, to the one around it."""
        self._stack[-2].content.extend(blocks)

    def _push(self, frame: Frame) -> None:
        self._stack.append(frame)
        self.top = frame

    def _is_in(self, *kinds: str) -> bool:
        return self.top.kind in kinds or (
            self.top.kind in PLAIN_LISTS or self.top.kind == "taskList"
        )

    def _open_item_for_stray(self) -> None:
        """Go on in a list's last item with a block that stands between items."""
        frame = Frame("listItem", _STRAY)
        if self.top.content:
            frame.content = self.top.content.pop()["content"]
        self._push(frame)

    def _make_room_for(self, kind: str) -> list[Frame]:
        """Close the containers that may not hold `kind`; return them to be opened again."""
        suspended: list[Frame] = []
        while kind not in MAY_HOLD[self.top.kind] or (
            kind == "paragraph" and self.top.kind == "taskItem"
        ):
            frame = self.top
            self._pop(is_suspended=True)
            continuation = frame.continued()
            if frame.kind == "taskList":
                continuation.attributes = {"localId": self.next_local_id()}
            suspended.append(continuation)
        return suspended

    def _reopen(self, suspended: list[Frame]) -> None:
        for frame in reversed(suspended):
            self._push(frame)

    def _pop(self, *, is_suspended: bool = False) -> None:
        """Close the innermost container: its node goes into the one around it."""
        frame = self._stack.pop()
        self.top = parent = self._stack[-1]
        self.node_count += 1
        if frame.kind in _NESTING and not is_suspended:
            self._nesting -= 1
        self._finish(frame, parent, is_suspended=is_suspended)
        if frame.reopened and not is_suspended:
            self._reopen(frame.reopened)

    def _finish(self, frame: Frame, parent: Frame, *, is_suspended: bool) -> None:
        """Put what a container became into the one around it."""
        kind, content = frame.kind, frame.content
        if kind in _ITEMS:
            _finish_item(frame, parent, is_suspended=is_suspended)
            return
        if frame.leading:
            if parent.kind == "taskList":
                parent.leading = [*(parent.leading or ()), *frame.leading]
            else:
                parent.content.extend(frame.leading)
        if kind == "table":
            self._finish_table(frame, parent)
            return
        if not content and kind == "panel" and is_suspended and not frame.is_rest:
            label = text_node(PANEL_LABELS[(frame.attributes or {}).get("panelType", "info")])
            content.append({"type": "paragraph", "content": strengthened([label])})
        title = (frame.attributes or {}).get("title")
        if not content and title and is_suspended and not frame.is_rest:
            words = strengthened([text_node(title)])  # before what was moved out of the expand
            parent.content.append({"type": "paragraph", "content": words})
            return
        if not content and kind != "tableRow":
            if kind in _LEFT_OUT_EMPTY or is_suspended or frame.is_rest:
                return
            content.append({"type": "paragraph", "content": []})
        node: Node = {"type": kind, "content": content}
        attributes = frame.attributes
        if attributes and attributes != {"order": 1}:
            node["attrs"] = attributes
        parent.content.append(node)

    def _finish_table(self, frame: Frame, parent: Frame) -> None:
        table = lay_out(frame.content)
        if table is None:
            return
        blocks = nested_tables_resolved(table)
        if blocks is None:
            parent.content.append(table)
        else:
            self.add_all(blocks)


def _finish_item(frame: Frame, parent: Frame, *, is_suspended: bool) -> None:
    """Put an item into its list; what continues a split item goes before the list instead."""
    kind, content = frame.kind, frame.content
    if frame.is_rest:
        parent.leading = [*(parent.leading or ()), *content]
    elif kind == "taskItem":
        text = content[0]["content"] if content else []
        parent.content.append({"type": kind, "attrs": frame.attributes, "content": text})
    elif content or not is_suspended:
        parent.content.append({"type": kind, "content": _item_content(content)})


def text_node(text: str) -> Node:
    """Return a text without marks."""
    return {"type": "text", "text": text}


def strengthened(nodes: list[Node]) -> list[Node]:
    """Return the same inline nodes in bold, save code, which can carry no other mark."""
    return [
        {**node, "marks": [_STRONG, *node.get("marks", ())]}
        if node["type"] == "text" and not _NOT_WITH_STRONG & _mark_types(node)
        else node
        for node in nodes
    ]


def _mark_types(node: Node) -> set[str]:
    return {mark["type"] for mark in node.get("marks", ())}


def _item_content(content: list[Node]) -> list[Node]:
    """Begin an item with a paragraph or code, as older versions of the schema demand."""
    if not content or content[0]["type"].endswith("List"):
        return [{"type": "paragraph", "content": []}, *content]
    return content


def _too_deep(max_nesting: int) -> DocumentError:
    return DocumentError(
        f"The document nests quotes and lists more than {max_nesting} levels deep",
        next_step="Nest them less deeply, or start a new list or quote.",
    )
