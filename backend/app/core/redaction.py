"""Text and JSON without the secrets that can be recognised by their look or by their name.

Meant for what others write: error messages, tracebacks, log records. It is a safety net, not a
licence to log secrets: a password in the middle of a sentence looks like any other word. Where
in doubt it hides too much. All patterns take linear time (possessive quantifiers, bounded
repeats, or begins that the repeat itself cannot contain), whatever the text is.

No library is used: what there is are scanners, which report rather than replace, and packages of
a few months' age.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from app.core.json_safety import JsonValue

REDACTED: Final = "[redacted]"

_MAX_DEPTH: Final = 100
_SHORT_NAME: Final = 40


def redact(value: JsonValue) -> JsonValue:
    """Return the value without secrets, be they in text or under a telling key (`password`, …).

    Idempotent; never raises. Empty text, null and booleans stay under any key. What is nested
    deeper than 100 levels is hidden unread.
    """
    return _redact(value, 0)


def _redact(value: JsonValue, depth: int) -> JsonValue:
    if isinstance(value, str):
        return redact_text(value)
    if not isinstance(value, (list, dict)):
        return value
    if depth >= _MAX_DEPTH:
        return REDACTED
    if isinstance(value, list):
        return [_redact(item, depth + 1) for item in value]
    redacted: dict[str, JsonValue] = {}
    for key, item in value.items():
        name, is_secret = _judged(key) if len(key) <= _SHORT_NAME else _judge(key)
        redacted[name] = _hidden(item) if is_secret else _redact(item, depth + 1)
    return redacted


def _judge(name: str) -> tuple[str, bool]:
    return redact_text(name), is_secret_name(name)


_judged = lru_cache(maxsize=1_024)(_judge)  # the same few names stand in every log record


def _hidden(value: JsonValue) -> JsonValue:
    return value if value is None or isinstance(value, bool) or value in ("", [], {}) else REDACTED


_SECRET_NAME = re.compile(
    r"passw(?:or)?d|passwort|kennwort|passphrase|secret|credential|authorization|cookie"
    r"|api_?key|access_?key|account_?key|private_?key|signing_?key|encryption_?key"
    r"|tokens?$|pwd$|pgpass|dsn$|connection_?string|(?:^|_)auth$"
)
_SHORTEST_NAME: Final = 3


def is_secret_name(name: str) -> bool:
    """Tell whether values of this name are secrets (`db-password`, `apiKey`, `X-Auth-Token`)."""
    return (
        len(name) >= _SHORTEST_NAME
        and _SECRET_NAME.search(name.lower().replace("-", "_").replace(" ", "_")) is not None
    )


def redact_text(text: str) -> str:
    """Return the text with every secret that can be recognised replaced by `[redacted]`.

    Recognised are: passwords in URLs, Authorization and Cookie headers, Bearer and Basic
    credentials, `password=…` and its like (also in JSON, Python, XML, sentences, addresses and
    command lines), our own API keys (their id stays, it says whose key it was), private key
    blocks, JSON Web Tokens, signatures of Azure, and the tokens of some twenty services, each by
    its prefix. Idempotent; linear time; never raises.
    """
    lowered = text.lower()
    for rule in _RULES:
        for sign in rule.signs:
            if sign in lowered:
                text = rule.apply(text)
                break
    return text


class _Rule(NamedTuple):
    """Signs in lower case, and the change to texts in which one of them stands."""

    signs: tuple[str, ...]
    apply: Callable[[str], str]


def _replacing(
    pattern: str, replacement: str | Callable[[re.Match[str]], str], flags: int = 0
) -> Callable[[str], str]:
    compiled = re.compile(pattern, flags | re.ASCII)
    return lambda text: compiled.sub(replacement, text)


def _redact_url(match: re.Match[str]) -> str:
    """Return what follows `://` without the password; the user's name and the host stay.

    RFC 3986 ends the authority at the first `/`, `?` or `#`, but people write passwords that
    hold those unescaped. So a password reaches to the last `@`, wherever that is; only what
    follows a colon as a port does is none.
    """
    rest = match["rest"]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user_part, at, host = authority.rpartition("@")
    user, colon, password = (user_part if at else authority).partition(":")
    if not colon:
        # https://TOKEN@host: over HTTP a lone name is a credential; ssh://git@host is a name.
        is_token = user_part and _is_http(match)
        return f"://{REDACTED}@{host}{rest[len(authority) :]}" if is_token else match[0]
    is_address = not at and (not password or password.isdigit() or authority.startswith("["))
    end = rest.rfind("@")
    if is_address or end <= len(user) + 1:
        return match[0]
    return f"://{user}:{REDACTED}{rest[end:]}"


def _is_http(match: re.Match[str]) -> bool:
    scheme = match.string[max(0, match.start() - 5) : match.start()].lower()
    return scheme.endswith(("http", "https"))


def _redact_basic(match: re.Match[str]) -> str:
    """Hide Basic credentials, base64 of `user:password` (RFC 7617); other words stay."""
    encoded = match["encoded"].rstrip("=")
    try:
        decoded = base64.b64decode(encoded[: len(encoded) // 4 * 4], altchars=b"-_")
    except (binascii.Error, ValueError):
        return match[0]
    return f"{match['name']}{REDACTED}" if b":" in decoded else match[0]


_QUOTED_OR_TO_LINE_END = r"""(?:(?P<quote>[bfru]{0,2}["'])[^"'\r\n]++|[^"'\r\n][^\r\n]*+)"""
_VALUE_AFTER_NAME = r"""
    (?: (?P<open>\\++["'])[^"'\r\n]++                # \"…\": JSON in JSON
      | (?P<double>[bfru]{0,2}")(?:[^"\\\r\n]|\\.)++  # "…", to the line's end if never closed
      | (?P<single>[bfru]{0,2}')(?:[^'\\\r\n]|\\.)++
      | (?!\\++["'])[^\s"']++                         # a bare word
    )"""


def _keep_quote(match: re.Match[str]) -> str:
    groups = match.groupdict()
    quote = next((groups[name] for name in ("open", "double", "single") if groups[name]), "")
    return f"{match['name']}{quote}{REDACTED}"


_KEYWORD: Final = r"(?:passw(?:or[dt]|d)|kennwort|passphrase)"
_SHELL_WORD: Final = r"""(?:"[^"\r\n]*+"|'[^'\r\n]*+')?[^\s]*+"""

# The order matters for idempotence: first what may remove white space and line ends, last what
# needs a boundary before it, since a replacement makes new boundaries. No group that looks ahead is
# repeated possessively: Python before 3.11.5 matches too much by it (cpython issue 106052).
_RULES: Final = (
    _Rule(
        ("private key",),
        _replacing(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r".*?(?=-----END|\Z)(?:-----END [A-Z0-9 ]{0,60}-----)?",
            REDACTED,
            re.DOTALL,
        ),
    ),
    _Rule(
        ("authorization", "cookie"),
        _replacing(
            r"""(?P<name>(?:authorization|cookie)\\{0,8}["']?[ \t]{0,8}[:=][ \t]{0,8})"""
            + _QUOTED_OR_TO_LINE_END,
            lambda match: f"{match['name']}{match['quote'] or ''}{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("://",),
        _replacing(
            r"""://(?P<rest>[^\s"']*?)(?=://|[\s"']|\Z)""",
            _redact_url,
        ),
    ),
    _Rule(
        ("bearer",),
        _replacing(
            r"(?P<name>bearer[ \t]{1,8})[A-Za-z0-9._~+/=-]{6,}+",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("basic",),
        _replacing(
            r"(?P<name>basic[ \t]{1,8})(?P<encoded>[A-Za-z0-9+/_=-]{8,}+)",
            _redact_basic,
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("</",),
        _replacing(
            rf"(?P<name><[\w:.-]{{0,40}}(?:{_KEYWORD}|secret|token|api_?key|pin)>)[^<]++(?=</)",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("curl",),
        _replacing(
            r"""(?P<name>curl[^\r\n]{0,100}?[ ](?:-u|--user)[ =]{0,4}["']?[^\s:"']{1,64}:)"""
            r"""[^\s"']++""",
            rf"\g<name>{REDACTED}",
        ),
    ),
    _Rule(
        ("mysql", "mariadb"),
        _replacing(
            r"(?P<name>(?:mysql|mariadb)[^\r\n]{0,100}?[ ]-p)(?=\S)" + _SHELL_WORD,
            rf"\g<name>{REDACTED}",
        ),
    ),
    _Rule(
        ("--",),
        _replacing(
            rf"(?P<name>(?<!-)--[a-z0-9-]{{0,20}}(?:{_KEYWORD}|secret|token|api-?key)[ \t]{{1,8}})"
            r"(?!-|(?:and|are|can|cannot|for|has|in|is|may|must|needs?|or|takes|to|was|with)\b)"
            r"(?=\S)" + _SHELL_WORD,
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("passw", "kennwort", "passphrase"),
        _replacing(
            rf"""(?P<name>{_KEYWORD}[ \t]{{1,8}}(?:(?:is|was|ist|war)[ \t:]{{1,8}})?)"""
            r"""(?:(?P<double>")[^"\r\n]{4,}+(?=")|(?P<single>')[^'\r\n]{4,}+(?=')"""
            r"""|(?<=[str][ \t:])(?=[^\s"']{0,64}[0-9!#$%&*@^])[^\s"']{4,}+)""",
            lambda match: f"{match['name']}{match['double'] or match['single'] or ''}{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("passw", "kennwort", "pwd", "pass", "secret", "token", "key", "dsn", "credential"),
        _replacing(
            r"""(?P<name>
                (?: passw(?:or)?ds? | passwort | kennwort | pwd | pgpass | passphrase
                  | credentials? | dsn
                  | (?:api|access|account|private|signing|encryption|secret)[_-]?keys?
                  | tokens? | secrets? )
                (?: [0-9]{1,4} | (?<=[dt])[_-](?:hash|value|key|base|old|new|[0-9]{1,4}) )?
                \\{0,8}["']?[ \t]{0,8} (?: => | := | ==? | : ) [ \t]{0,8}
            )"""
            + _VALUE_AFTER_NAME,
            _keep_quote,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    _Rule(
        ("st_",),
        _replacing(r"(?P<id>st_[A-Za-z0-9_-]{1,64}\.)[A-Za-z0-9_-]{16,}+", rf"\g<id>{REDACTED}"),
    ),
    _Rule(
        (
            "gho_",
            "ghp_",
            "ghr_",
            "ghs_",
            "ghu_",
            "github_pat_",
            "glpat-",
            "xox",
            "xapp-",
            "hooks.slack.com",
            "atatt",
            "atctt",
            "atbb",
            "akia",
            "asia",
        ),
        _replacing(
            r"(?:gh[opsur]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+"
            r"|glpat-[A-Za-z0-9_-]{16,}+"
            r"|(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,}+"
            r"|hooks\.slack\.com/services/[A-Za-z0-9/]{10,}+"
            r"|(?:ATATT|ATCTT|ATBB)[A-Za-z0-9_=-]{16,}+"
            r"|(?:AKIA|ASIA)[A-Z0-9]{16})",
            REDACTED,
        ),
    ),
    _Rule(
        ("key=", "sig=", "signature="),
        _replacing(
            r"""(?P<name>[?&](?:key|sig|signature)=)[^\s&"'#<>]++""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("aiza", "ya29.", "sk", "rk_", "whsec_", "npm_", "pypi-", "sg.", "_v1_", "hf_"),
        _replacing(
            r"(?<![A-Za-z0-9_])(?:AIza[A-Za-z0-9_-]{30,}+|ya29\.[A-Za-z0-9._-]{20,}+"
            r"|[sr]k_(?:live|test)_[A-Za-z0-9_-]{10,}+|whsec_[A-Za-z0-9_+/=-]{16,}+"
            r"|sk-(?:proj|ant|svcacct|admin|or)-[A-Za-z0-9_-]{16,}+|sk-[A-Za-z0-9]{20}[A-Za-z0-9_-]*+"
            r"|npm_[A-Za-z0-9]{20}[A-Za-z0-9_-]*+|pypi-[A-Za-z0-9_-]{32,}+"
            r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+|SK[0-9a-f]{32}(?![A-Za-z0-9_-])"
            r"|do[opr]_v1_[A-Za-z0-9_-]{32,}+|hf_[A-Za-z0-9]{20}[A-Za-z0-9_-]*+)",
            REDACTED,
        ),
    ),
    _Rule(
        ("pin", "sig="),
        _replacing(
            r"""(?P<name>(?<![A-Za-z0-9_])(?:pin["']?[ ]?[=:][ ]?["']?(?=[0-9]{4})"""
            r"""|sig=(?=[A-Za-z0-9%+/]{16})))[A-Za-z0-9%+/=_-]++""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("eyj",),
        _replacing(
            r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{4,}+(?:\.[A-Za-z0-9_-]*+)?",
            REDACTED,
        ),
    ),
)
