"""Formulas of Word (OMML) as text on one line: `(a+b)/2`, `x^2`, `√(x)`, `∑_(i=1)^n i`."""

from __future__ import annotations

from collections import defaultdict

_ARGUMENTS = frozenset(("m:e", "m:num", "m:den", "m:sub", "m:sup", "m:deg", "m:fName", "m:lim"))
_SIGNS = frozenset(("m:chr", "m:begChr", "m:endChr", "m:sepChr"))


class _Element:
    """An element whose text is being collected."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: list[str] = []
        self.arguments: defaultdict[str, list[str]] = defaultdict(list)
        self.signs: dict[str, str] = {}


class Formula:
    """A formula, read element by element."""

    def __init__(self) -> None:
        self._open = [_Element("m:oMath")]

    def start(self, name: str, value: str) -> None:
        """Begin an element whose attribute `val` is this."""
        self._open.append(_Element(name))
        if name in _SIGNS and len(self._open) > 2:  # noqa: PLR2004 - the formula, its element, the properties
            self._open[-3].signs[name] = value

    def end(self, name: str) -> None:
        """End the innermost element."""
        element = self._open.pop()
        text = _written(element)
        if name in _ARGUMENTS:
            self._open[-1].arguments[name].append(text)
        elif name == "m:mr":
            self._open[-1].arguments["m:e"].append(", ".join(element.arguments["m:e"]))
        elif text:
            self._open[-1].texts.append(text)

    def add(self, text: str) -> None:
        """Add a text."""
        if self._open[-1].name in {"m:t", "w:t"}:
            self._open[-1].texts.append(text)

    def text(self) -> str:
        """Return the formula."""
        return _written(self._open[0])


def _written(element: _Element) -> str:  # noqa: PLR0911 - one for each kind
    of = {name: texts[0] for name, texts in element.arguments.items()}
    body = of.get("m:e", "")
    match element.name:
        case "m:f":
            return f"{_grouped(of.get('m:num', ''))}/{_grouped(of.get('m:den', ''))}"
        case "m:sSup" | "m:sSub" | "m:sSubSup" | "m:sPre" | "m:limLow" | "m:limUpp":
            return _grouped(body) + _scripts(of)
        case "m:rad":
            return f"{of.get('m:deg', '')}√({body})"
        case "m:nary":
            return f"{element.signs.get('m:chr', '∫')}{_scripts(of)} {body}"
        case "m:d":
            sign = element.signs
            parts = sign.get("m:sepChr", "|").join(element.arguments["m:e"])
            return f"{sign.get('m:begChr', '(')}{parts}{sign.get('m:endChr', ')')}"
        case "m:func":
            return f"{of.get('m:fName', '')} {body}"
        case "m:acc":
            return f"{_grouped(body)}{element.signs.get('m:chr', chr(0x302))}"
        case "m:m" | "m:eqArr":
            return f"[{'; '.join(element.arguments['m:e'])}]"
    return "".join(
        [*element.texts, *(text for all_ in element.arguments.values() for text in all_)]
    )


def _scripts(of: dict[str, str]) -> str:
    below, above = of.get("m:sub") or of.get("m:lim", ""), of.get("m:sup", "")
    return (f"_{_grouped(below)}" if below else "") + (f"^{_grouped(above)}" if above else "")


def _grouped(text: str) -> str:
    return text if len(text) <= 1 or text.isalnum() else f"({text})"
