"""The parts of a Word document made ready for `mammoth`, which reads its text but not all of it.

Each part is written again as it is parsed: what the library would build and then ignore is left
out, text that it would lose is put where it sees it, and what has no place in its HTML (colours,
alignment, the number of an item) is written into the text between signs that no text has.
`with_signs_read` makes HTML of these.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from app.core.errors import DocumentError
from app.tasks.documents.office import read_entry
from app.tasks.documents.word_formulas import Formula
from app.tasks.documents.word_numbers import Numbers

MOST_XML_BYTES = 16 * 1024 * 1024
"""Of a part as it is, and of all parts as they are handed on."""

MOST_ELEMENTS = 250_000
"""Elements and attributes, of all parts together: the library takes 1 KB and 0.1 ms for each."""

MOST_LEVELS = 200

_OFFICE = "http://schemas.openxmlformats.org"
_STRICT = "http://purl.oclc.org/ooxml"
_MICROSOFT = "http://schemas.microsoft.com/office/word/2010"
_PREFIXES = {
    f"{_STRICT}/wordprocessingml/main": "w",
    f"{_STRICT}/officeDocument/relationships": "r",
    f"{_STRICT}/drawingml/wordprocessingDrawing": "wp",
    f"{_STRICT}/drawingml/main": "a",
    f"{_STRICT}/drawingml/picture": "pic",
    f"{_STRICT}/officeDocument/math": "m",
    f"{_STRICT}/drawingml/chart": "c",
    f"{_STRICT}/drawingml/diagram": "dgm",
    f"{_OFFICE}/wordprocessingml/2006/main": "w",
    f"{_OFFICE}/officeDocument/2006/relationships": "r",
    f"{_OFFICE}/drawingml/2006/wordprocessingDrawing": "wp",
    f"{_OFFICE}/drawingml/2006/main": "a",
    f"{_OFFICE}/drawingml/2006/picture": "pic",
    f"{_OFFICE}/officeDocument/2006/math": "m",
    f"{_OFFICE}/drawingml/2006/chart": "c",
    f"{_OFFICE}/drawingml/2006/diagram": "dgm",
    f"{_OFFICE}/markup-compatibility/2006": "mc",
    f"{_OFFICE}/package/2006/content-types": "ct",
    f"{_OFFICE}/package/2006/relationships": "rel",
    "urn:schemas-microsoft-com:vml": "v",
    f"{_MICROSOFT}/wordml": "w14",
    f"{_MICROSOFT}/wordprocessingShape": "wps",
    f"{_MICROSOFT}/wordprocessingGroup": "wps",
    f"{_MICROSOFT}/wordprocessingCanvas": "wps",
    "http://www.w3.org/XML/1998/namespace": "xml",
}
_SPACES = "".join(
    f' xmlns:{prefix}="{uri}"'
    for prefix, uri in {prefix: uri for uri, prefix in _PREFIXES.items()}.items()
    if prefix != "xml"
)
_ROOTS = frozenset({
    "ct:Types", "rel:Relationships", "w:comments", "w:document", "w:endnotes", "w:footnotes",
    "w:numbering", "w:styles",
})  # fmt: skip
"""The parts that the library reads."""

_KEPT = {
    "w:pPr": frozenset({"w:pStyle", "w:numPr", "w:rPr"}),
    "w:rPr": frozenset({
        "w:rStyle", "w:b", "w:i", "w:u", "w:strike", "w:vertAlign", "w:del",
    }),
    "w:tblPr": frozenset({"w:tblStyle"}),
    "w:tcPr": frozenset({"w:gridSpan", "w:vMerge"}),
    "w:trPr": frozenset({"w:del", "w:tblHeader"}),
    "w:style": frozenset({"w:name", "w:pPr", "w:rPr"}),
    "w:styles": frozenset({"w:style"}),
}  # fmt: skip
"""Of these elements, the only children that are of use."""

_LEFT_OUT = frozenset({
    "w:del", "w:lastRenderedPageBreak", "w:moveFrom", "w:proofErr", "w:sectPr", "w:tblGrid",
})  # fmt: skip
_UNWRAPPED = frozenset({
    "m:oMathPara", "mc:AlternateContent", "mc:Choice", "mc:Fallback", "w:bdo", "w:dir",
    "w:fldSimple", "w:rt", "w:ruby", "w:rubyBase",
})  # fmt: skip
"""The library would drop them with the text in them."""

_WITHOUT_TEXT = {
    "c:chart": "charts", "dgm:relIds": "diagrams", "w:altChunk": "other documents in it",
    "w:comment": "comments",
}  # fmt: skip
_BEGIN_TEXT = frozenset({
    "m:oMath", "w:fldSimple", "w:hyperlink", "w:ins", "w:moveTo", "w:r", "w:ruby", "w:sdt",
    "w:smartTag",
})  # fmt: skip
_HIGHLIGHTS = {
    "black": "000000", "blue": "0000ff", "cyan": "00ffff", "darkBlue": "000080",
    "darkCyan": "008080", "darkGray": "808080", "darkGreen": "008000", "darkMagenta": "800080",
    "darkRed": "800000", "darkYellow": "808000", "green": "00ff00", "lightGray": "c0c0c0",
    "magenta": "ff00ff", "red": "ff0000", "yellow": "ffff00",
}  # fmt: skip
_OFF = frozenset({"0", "false", "off"})
_COLOUR = re.compile(r"[0-9a-fA-F]{6}")
_ALIGNMENTS = {"center": "center", "right": "right", "end": "right"}

_STYLE, _TEXT, _END, _SAID, _SAID_END = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd6", "\ufdd7"
_RESERVED = re.compile("[\ufdd0-\ufdef]")
_IN_STYLE = re.compile(f"{_STYLE}([^{_TEXT}]*){_TEXT}")
_SAID_OF_BLOCK = re.compile(
    r'((?:<(?:ol|li|p|td|th|h[1-6])(?:\s[^>]*)?>|<a id="[^"]*"></a>)*)'
    f"{_SAID}([^{_SAID_END}]*){_SAID_END}"
)
_TAG = re.compile(r"<(ol|p|td|th|h[1-6])((?:\s[^>]*)?)>")
_LINK_WITHIN = re.compile(r'<a href="#[^"]*"')
_BACK_LINK = re.compile(r'\s*<a href="#(?:foot|end)note-ref-[^"]*">↑</a>')
_FIRST_NOTE = re.compile(r'<ol><li id="(?:foot|end)note-')


class WordParts(NamedTuple):
    """A Word document that `mammoth` reads whole.

    Attributes:
        content: the archive.
        left_out: how many there are of what has no text in it, by their names.

    """

    content: bytes
    left_out: Counter[str]


def prepare_parts(name: str, archive: zipfile.ZipFile) -> WordParts:
    """Return the document with its parts made ready; pictures are not in it.

    Raises:
        DocumentError: it is damaged, nests too deeply, or has too much in it.

    """
    budget = _Budget(name)
    content = io.BytesIO()
    left_out: Counter[str] = Counter()
    numbers = Numbers()
    hidden: set[str] = set()
    # Styles and numbers before the text that uses them.
    entries = sorted(
        archive.infolist(),
        key=lambda entry: not entry.filename.endswith(("styles.xml", "numbering.xml")),
    )
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as ready:
        for entry in entries:
            written = read_entry(name, archive, entry.filename)
            if b"<" not in written[:64]:
                continue
            if len(written) > MOST_XML_BYTES:
                raise budget.too_large(f"{MOST_XML_BYTES:,} bytes of text")
            part = _Part(budget, left_out, numbers, hidden).read(written)
            if part is not None:
                ready.writestr(entry.filename, part)
    return WordParts(content.getvalue(), left_out)


def with_signs_read(html: str) -> str:
    """Return `mammoth`'s HTML with colours, alignment and numbers for the signs in it."""
    html = _IN_STYLE.sub(r'<span style="\1">', html).replace(_END, "</span>")
    html = _SAID_OF_BLOCK.sub(_with_attributes, html)
    html = _FIRST_NOTE.sub(r"<hr>\g<0>", _BACK_LINK.sub("", html), count=1)
    return _LINK_WITHIN.sub("<a", html)  # a place in Word is none in Jira


def _with_attributes(found: re.Match[str]) -> str:
    said = dict(part.split("=") for part in found[2].split(";"))

    def tag(opened: re.Match[str]) -> str:
        name, attributes = opened.groups()
        if name == "ol" and "start" in said:
            attributes += f' start="{said["start"]}"'
        elif name in {"td", "th"} and "background" in said:
            attributes += f' bgcolor="#{said["background"]}"'
        elif name[0] in "ph" and "align" in said:
            attributes += f' align="{said["align"]}"'
        return f"<{name}{attributes}>"

    return _TAG.sub(tag, found[1])


class _Budget:
    """Counts what all parts of a document have."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._elements = self._characters = 0

    def take(self, elements: int = 0, characters: int = 0) -> None:
        """Count elements and characters.

        Raises:
            DocumentError: there are too many.

        """
        self._elements += elements
        self._characters += characters
        if self._elements > MOST_ELEMENTS:
            raise self.too_large(f"{MOST_ELEMENTS:,} elements and attributes")
        if self._characters > MOST_XML_BYTES:
            raise self.too_large(f"{MOST_XML_BYTES:,} characters")

    def too_large(self, what: str) -> DocumentError:
        """Return the error for a document of more than this."""
        return self.unusable(f"has more than {what}", "Split it into several documents.")

    def unusable(self, what: str, next_step: str) -> DocumentError:
        """Return the error for a document that cannot be read."""
        return DocumentError(f"{self._name} {what}", name=self._name, next_step=next_step)


class _Run:
    """A run whose text is being collected."""

    def __init__(self, start: int, *, in_link: bool) -> None:
        self.start = start
        self.in_link = in_link
        self.is_hidden = False
        self.style: dict[str, str] = {}


class _Paragraph:
    """A paragraph that is open, and what is to be said of it before its first text."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.style = self.list = ""
        self.level = "0"
        self.is_begun = False


class _Part:
    """Writes one part again."""

    def __init__(
        self, budget: _Budget, left_out: Counter[str], numbers: Numbers, hidden: set[str]
    ) -> None:
        self._budget = budget
        self._left_out = left_out
        self._numbers = numbers
        self._hidden_styles = hidden
        self._written: list[str] = []
        self._names: list[str] = []
        self._skipped_from = 0  # the level of an element that is left out
        self._formula: Formula | None = None
        self._runs: list[_Run] = []
        self._paragraphs: list[_Paragraph] = []
        self._backgrounds: list[str] = []  # of the cells that are open, until they are written
        self._choices: list[int] = []  # where the first way begins to show what has several
        self._boxes: list[tuple[int, list[str]]] = []  # of drawings
        self._style = ""

    def read(self, xml: bytes) -> str | None:
        """Return the part as it is handed on; None for one that the library does not read.

        Raises:
            DocumentError: it is damaged, or too large.

        """
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            parser.Parse(xml, True)
        except expat.ExpatError as error:
            raise self._budget.unusable(f"is damaged ({error})", "Save it again.") from error
        return "".join(self._written) if self._written else None

    def _refuse_doctype(self, *_: object) -> None:
        raise self._budget.unusable("has a document type, which no Word file has", "Save it again.")

    def _start(self, full_name: str, given: dict[str, str]) -> None:
        name = _short(full_name)
        around = self._names[-1] if self._names else ""
        self._names.append(name)
        level = len(self._names)
        if level > MOST_LEVELS:
            raise self._budget.unusable(
                "cannot be read as a Word document: it nests too deeply", "Save it again as .docx."
            )
        if self._skipped_from:
            return
        attributes = {short: value for key, value in given.items() if (short := _short(key))}
        if self._formula is not None:
            self._formula.start(name, attributes.get("m:val", ""))
            return
        if name in _BEGIN_TEXT and around not in _KEPT and around != "w:numPr":
            self._begin_text()
        if name == "m:oMath":
            self._formula = Formula()
            return
        self._note(name, around, attributes)
        self._begin(name, attributes)
        if self._is_left_out(name, around):
            self._skipped_from = level
        elif name not in _UNWRAPPED and name[:4] != "wps:":
            self._open(name, attributes, spaces=_SPACES if level == 1 else "")

    def _open(self, name: str, attributes: dict[str, str], spaces: str) -> None:
        if name == "w:drawing" or (name == "w:txbxContent" and self._is_in_drawing()):
            self._boxes.append((len(self._written), []))
        kept = {key: value for key, value in attributes.items() if key[:6] != "w:rsid"}
        self._budget.take(1 + len(kept))
        written = "".join(f" {key}={quoteattr(value)}" for key, value in kept.items())
        self._write(f"<{name}{spaces}{written}>")

    def _is_left_out(self, name: str, around: str) -> bool:
        if not around:
            return name not in _ROOTS
        if around in _KEPT:
            return name not in _KEPT[around]
        if name == "mc:Choice" and self._choices:
            return self._choices[-1] < len(self._written)
        return not name or name in _LEFT_OUT or name[-6:] == "Change"

    def _note(self, name: str, around: str, attributes: dict[str, str]) -> None:
        """Remember what an element says of the run, paragraph, cell or style that is open."""
        value = attributes.get("w:val", "")
        if name in _WITHOUT_TEXT:
            self._left_out[_WITHOUT_TEXT[name]] += 1
        elif around == "w:rPr":
            self._note_of_run(name, value, attributes)
        elif name == "w:shd" and around == "w:tcPr" and self._backgrounds:
            self._backgrounds[-1] = _colour(attributes.get("w:fill", ""))
        elif self._paragraphs and around in {"w:pPr", "w:numPr"}:
            self._note_of_paragraph(name, value)
        else:
            self._numbers.note(name, self._style, attributes)

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        """Begin a paragraph, run, cell or style, or what can be shown in several ways."""
        if name == "w:p":
            self._paragraphs.append(_Paragraph())
        elif name == "w:r":
            self._runs.append(_Run(len(self._written), in_link="w:hyperlink" in self._names))
        elif name == "w:tc":
            self._backgrounds.append("")
        elif name == "w:style":
            self._style = attributes.get("w:styleId", "")
        elif name == "mc:AlternateContent":
            self._choices.append(len(self._written))
        elif name == "mc:Fallback" and self._choices:
            del self._written[self._choices[-1] :]  # of the ways, the one that the library reads

    def _is_in_drawing(self) -> bool:
        nearest = (name for name in reversed(self._names) if name in {"w:drawing", "w:pict"})
        return next(nearest, "") == "w:drawing"

    def _note_of_paragraph(self, name: str, value: str) -> None:
        paragraph = self._paragraphs[-1]
        if name == "w:jc" and value in _ALIGNMENTS:
            paragraph.said["align"] = _ALIGNMENTS[value]
        elif name == "w:pStyle":
            paragraph.style = value
        elif name == "w:numId":
            paragraph.list = value
        elif name == "w:ilvl":
            paragraph.level = value

    def _note_of_run(self, name: str, value: str, attributes: dict[str, str]) -> None:
        owner = self._names[-3]
        if owner == "w:style" and name == "w:vanish" and value not in _OFF:
            self._hidden_styles.add(self._style)
        if owner != "w:r":
            return
        run = self._runs[-1]
        if name == "w:vanish":
            run.is_hidden = value not in _OFF
        elif name == "w:rStyle":
            run.is_hidden = run.is_hidden or value in self._hidden_styles
        elif name == "w:color" and not run.in_link and (colour := _colour(value)):
            run.style["color"] = f"#{colour}"
        elif name == "w:shd" and (colour := _colour(attributes.get("w:fill", ""))):
            run.style.setdefault("background-color", f"#{colour}")
        elif name == "w:highlight" and value in _HIGHLIGHTS:
            run.style["background-color"] = f"#{_HIGHLIGHTS[value]}"
        elif name == "w:dstrike" and value not in _OFF:
            self._write("<w:strike></w:strike>")

    def _begin_text(self) -> None:
        """Say of the open paragraph what is to be said, in a run of its own."""
        if not self._paragraphs or self._paragraphs[-1].is_begun:
            return
        paragraph = self._paragraphs[-1]
        paragraph.is_begun = True
        if self._backgrounds and self._backgrounds[-1]:
            paragraph.said["background"], self._backgrounds[-1] = self._backgrounds[-1], ""
        number = self._numbers.count(paragraph.list, paragraph.level, paragraph.style)
        if number > 1:
            paragraph.said["start"] = str(number)
        if paragraph.said:
            said = ";".join(f"{key}={value}" for key, value in paragraph.said.items())
            self._budget.take(2)
            self._write(f"<w:r><w:t>{_SAID}{said}{_SAID_END}</w:t></w:r>")

    def _end(self, _full_name: str) -> None:
        name = self._names.pop()
        if self._skipped_from:
            if len(self._names) < self._skipped_from:
                self._skipped_from = 0
        elif self._formula is not None:
            if name == "m:oMath":
                text = escape(_RESERVED.sub("\ufffd", self._formula.text()))
                self._formula = None
                self._write(f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>')
            else:
                self._formula.end(name)
        elif name == "mc:AlternateContent":
            self._choices.pop()
        elif name not in _UNWRAPPED and name[:4] != "wps:":
            self._write(f"</{name}>")
            self._close(name)

    def _close(self, name: str) -> None:
        if name == "w:r":
            run = self._runs.pop()
            is_hidden = self._paragraphs and self._paragraphs[-1].style in self._hidden_styles
            if run.is_hidden or is_hidden:
                del self._written[run.start :]
        elif name == "w:p":
            self._begin_text()  # an empty item counts
            self._paragraphs.pop()
        elif name == "w:tc":
            self._backgrounds.pop()
        elif name == "w:style":
            self._style = ""
        elif name == "w:txbxContent" and self._is_in_drawing():
            start, _ = self._boxes.pop()
            self._boxes[-1][1].append("".join(self._written[start:]))
            del self._written[start:]
        elif name == "w:drawing":
            for box in self._boxes.pop()[1]:
                self._written.append(f"<w:pict><v:textbox>{box}</v:textbox></w:pict>")

    def _text(self, text: str) -> None:
        if self._skipped_from:
            return
        if self._formula is not None:
            self._formula.add(text)
            return
        text = escape(_RESERVED.sub("\ufffd", text))
        if self._names[-1] == "w:t" and self._runs and self._runs[-1].style:
            style = ";".join(f"{key}:{value}" for key, value in self._runs[-1].style.items())
            text = f"{_STYLE}{style}{_TEXT}{text}{_END}"
        self._write(text)

    def _write(self, text: str) -> None:
        self._budget.take(characters=len(text))
        self._written.append(text)


def _short(name: str) -> str:
    """Return a name with its usual prefix; "" where nothing of that kind is read."""
    space, _, local = name.rpartition(" ")
    if not space:
        return local
    prefix = _PREFIXES.get(space)
    return f"{prefix}:{local}" if prefix else ""


def _colour(value: str) -> str:
    """Return a colour of Word; "" for the usual one."""
    return value.lower() if _COLOUR.fullmatch(value) else ""
