"""The names of programming languages as Jira's code block knows them.

Source: the aliases of `@atlaskit/code` 19, `SUPPORTED_LANGUAGES`; a name that is none of them is
shown without colours, so the usual other names are written as the ones that Jira knows.
"""

from __future__ import annotations

import re

_JIRA_NAMES = {
    "batch": "powershell", "c++": "cpp", "cc": "cpp", "cjs": "javascript", "clj": "clojure",
    "cmd": "powershell", "console": "shell", "cs": "csharp", "cxx": "cpp", "docker-compose": "yaml",
    "dotnet": "csharp", "f90": "fortran", "fish": "shell", "golang": "go", "gql": "graphql",
    "h": "c", "hpp": "cpp", "htm": "html", "ipython": "python", "java8": "java",
    "js": "javascript", "json5": "json", "jsonc": "json", "jsonl": "json", "kt": "kotlin",
    "kts": "kotlin", "math": "latex", "md": "markdown", "mjs": "javascript", "mts": "typescript",
    "node": "javascript", "nodejs": "javascript", "none": "text", "objective-c": "objectivec",
    "output": "text", "patch": "diff", "plain": "text", "ps": "powershell", "pwsh": "powershell",
    "py": "python", "py3": "python", "pycon": "python", "python3": "python", "pytb": "python",
    "rb": "ruby", "rs": "rust", "scss": "sass", "sh": "shell", "sh-session": "shell",
    "shell-session": "shell", "shellscript": "shell", "shellsession": "shell", "svelte": "html",
    "svg": "xml", "terminal": "shell", "tf": "terraform", "ts": "typescript", "txt": "text",
    "vue": "html", "xhtml": "html", "yml": "yaml", "zsh": "shell",
}  # fmt: skip
_CLASS = re.compile(
    r"(?:^|[\s{.])(?:(?:language|lang|brush|code|highlight-source|highlight|sourceCode)[-:]\s*"
    r"|(?:sourceCode|hljs)\s+)([^\s;,}]+)",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z][\w+#.-]*")
_WRAPPERS = frozenset({"highlight", "notranslate", "default", "nohighlight", "source", "block"})


def jira_language(name: str) -> str:
    """Return the language of a fence's info string, or its class, as Jira calls it.

    `{.python .numberLines}`, `python,ignore`, `python{1,3}` and `Python` are all `python`.
    """
    found = _NAME.search(name)
    if found is None:
        return ""
    language = found[0].lower().rstrip(".")
    return _JIRA_NAMES.get(language, language)


def language_of(attributes: dict[str, str]) -> str:
    """Return the language that an element's attributes name; empty if they name none."""
    for key in ("data-lang", "data-language", "lang", "data-syntaxhighlighter-params"):
        if value := attributes.get(key):
            found = _CLASS.search(value)
            return jira_language(found[1] if found else value)
    found = _CLASS.search(attributes.get("class", ""))
    if found is None or found[1].lower() in _WRAPPERS:
        return ""
    return jira_language(found[1])
