# ruff: noqa: INP001 - a script
"""Draw the output of `make demo` in a terminal, for the README: docs/images/demo.svg.

The script runs the demo in a pseudo-terminal, on an embedded database of its own, and interprets
its output as a terminal does: Rich's live display moves up and overwrites its bars.

    .venv/bin/python docs/images/make_demo_picture.py
"""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_name("demo.svg")
COMMAND = ("make", "demo")
COLUMNS, ROWS = 88, 50

# Readable on white and on black pages: contrast over 4.5 to 1 for every colour in use.
THEME = TerminalTheme(
    (24, 26, 31),
    (220, 223, 228),
    [
        (70, 75, 85),
        (240, 113, 120),
        (126, 211, 133),
        (229, 192, 123),
        (110, 170, 240),
        (210, 140, 220),
        (90, 200, 215),
        (220, 223, 228),
    ],
)
FONTS = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace'

_PIECES = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


def run_in_terminal(command: tuple[str, ...], environment: dict[str, str]) -> str:
    """Run the command, and return everything that it writes to its terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(  # noqa: S603 - the demo
        command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError as error:
            if error.errno != errno.EIO:  # on Linux: the other end is closed
                raise
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    if process.wait() != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{written.decode()}")
    return written.decode()


def screen(written: str) -> list[str]:
    """Return the lines left on the screen, with their colours.

    It supports only the control sequences of Rich's live displays: erase a line, go up a line.
    """
    lines = [""]
    row = 0
    colours = ""
    for match in _PIECES.finditer(written):
        piece = match[0]
        if piece == "\n":
            row += 1
            if row == len(lines):
                lines.append(colours)
        elif piece == "\r":
            continue
        elif match[2] is None:
            lines[row] += piece
        elif match[2] == "m":
            colours = "" if match[1] in {"", "0"} else colours + piece
            lines[row] += piece
        elif match[2] == "K":
            lines[row] = colours
        elif match[2] == "A":
            row -= int(match[1] or 1)
        elif match[2] not in {"h", "l"}:  # the cursor, shown and hidden
            sys.exit(f"Unknown terminal control sequence: {piece!r}")
    return lines


def draw(lines: list[str]) -> str:
    """Return the lines as SVG, which loads nothing: it uses the reader's own fonts."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in lines:
            console.print(Text.from_ansi(line), soft_wrap=False)
        code_format = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        code_format = code_format.replace("Fira Code, monospace", FONTS)
        return console.export_svg(
            title=" ".join(COMMAND), theme=THEME, code_format=code_format, unique_id="demo"
        )


def main() -> None:
    """Run the demo and draw it."""
    subprocess.run(["make", "install"], cwd=ROOT, check=True)  # noqa: S607 - a word on PATH
    with tempfile.TemporaryDirectory(prefix="demo-") as data_dir:
        Path(data_dir).chmod(0o711)  # as root, the server's own account must be able to enter
        environment = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}},
            "SESSION_TASKS_DATA_DIR": data_dir,
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "COLUMNS": str(COLUMNS),
        }
        written = run_in_terminal(COMMAND, environment)
    lines = [f"\x1b[1;36m$\x1b[0m {' '.join(COMMAND)}", *screen(written)]
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines.pop()
    PICTURE.write_text("\n".join(line.rstrip() for line in draw(lines).splitlines()) + "\n")
    sys.stdout.write(f"{PICTURE} shows {len(lines)} lines\n")


if __name__ == "__main__":
    main()
