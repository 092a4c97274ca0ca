"""Text and JSON without the secrets that can be recognised by their look or by their name.

Meant for what others write: error messages, tracebacks, log records. It is a safety net, not a
licence to log secrets: a password in the middle of a sentence looks like any other word. Where
in doubt it hides too much. All patterns take linear time (possessive quantifiers, bounded
repeats, or begins that the repeat itself cannot contain), whatever the text is.

No library is used: what there is are scanners, which report rather than replace, and packages of
a few months' age (docs/decisions/redaction.md measures two).
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


_KEY_NAMES: Final = (
    r"(?:access|account|api|encryption|functions|license|master|private|secret|service|shared"
    r"|signing|ssh|storage|subscription)[_-]?keys?"
)
_IN_OTHER_LANGUAGES: Final = (
    r"mot[ _]de[ _]passe|mdp|cl[ée][ _]secr[èe]te|zugangsschlüssel"
    r"|contrase[nñ]a|senha|wachtwoord|l[oö]senord|adgangskode|passord|salasana"
    r"|has[lł]o(?![a-z])|heslo|jelsz[oó]|[sş]ifre|parola|zugangsdaten|пароль|κωδικός|パスワード"
    r"|密码|密碼|口令|비밀번호|암호|كلمة المرور|كلمة السر|סיסמה|סיסמא|पासवर्ड|mật khẩu"
)
"""The word for a password, in Latin and other scripts."""

_SECRET_NAME = re.compile(
    r"passw(?:or)?d|passwort|kennwort|passphrase|passcode|secret|credential|authorization|cookie"
    rf"|{_KEY_NAMES}|connection_?string|webhook_url|pgpass|dsn$|{_IN_OTHER_LANGUAGES}"
    r"|(?<!max_)(?<!put_)(?<!prompt_)(?<!completion_)(?<!total_)tokens?(?:_(?:value|[0-9]{1,4}))?$"
    r"|pwd(?:_[a-z0-9]{1,4})?$|key_data$|psk$|(?:^|_)(?:auth|bearer|cvc|cvv|jwt|otp|pass|pin|sas)$"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SHORTEST_NAME: Final = 3


def is_secret_name(name: str) -> bool:
    """Tell whether values of this name are secrets (`db-password`, `apiKey`, `X-Auth-Token`)."""
    return (len(name) >= _SHORTEST_NAME or not name.isascii()) and _SECRET_NAME.search(
        _HUMP.sub("_", name).lower().replace("-", "_").replace(" ", "_")
    ) is not None


def redact_text(text: str) -> str:
    """Return the text with every secret that can be recognised replaced by `[redacted]`.

    Recognised are: passwords in URLs, Authorization and Cookie headers, Bearer and Basic
    credentials, `password=…` and its like (also in JSON, Python, XML, sentences, addresses and
    command lines, and in twenty other languages), our own API keys (their id stays, it says whose
    key it was), private key blocks, JSON Web Tokens, signatures of Azure, and the tokens of some
    sixty services, each by its prefix. Idempotent; linear time; never raises.
    """
    if _HOLDS_NONE.fullmatch(text):
        return text
    lowered = text.lower()
    for rule in _RULES:
        for sign in rule.signs:
            if sign in lowered:
                text = rule.apply(text)
                break
    return text


_HOLDS_NONE = re.compile(r"[0-9a-fTZ:.+-]{0,40}|[a-z_]{0,20}")
"""An id, a moment, a single word: most fields of a log record."""


class _Rule(NamedTuple):
    """Signs in lower case, and the change to texts in which one of them stands."""

    signs: tuple[str, ...]
    apply: Callable[[str], str]


def _replacing(
    pattern: str, replacement: str | Callable[[re.Match[str]], str], flags: int = 0
) -> Callable[[str], str]:
    compiled = re.compile(pattern, flags | (0 if flags & re.UNICODE else re.ASCII))
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
    (?: (?<==)\{[^}\r\n]++[^\s"']*+                    # {…}: ODBC
      | \[["'][^\]\r\n]++\]?                           # ["…", "…"]
      | (?P<open>\\++["'])[^"'\r\n]++                # \"…\": JSON in JSON
      | (?P<double>[bfru]{0,2}")(?:[^"\\\r\n]|\\.)++  # "…", to the line's end if never closed
      | (?P<single>[bfru]{0,2}')(?:[^'\\\r\n]|\\.)++
      | (?!\\++["']|\{["'])(?![^\w\s"'](?:[\s,;.)]|\Z))     # a bare word, or SecretStr('…')
        [^\s"']++(?:(?<=\()["'][^"'\r\n]*+["']?[^\s"']*+)?
    )"""


_NO_SECRET = re.compile(r"(?:null|none|nil|undefined|true|false)[,;)}\]]*", re.IGNORECASE)


def _keep_quote(match: re.Match[str]) -> str:
    groups = match.groupdict()
    if _NO_SECRET.fullmatch(match[0], len(match["name"])):
        return match[0]
    quote = next((groups[name] for name in ("open", "double", "single") if groups[name]), "")
    return f"{match['name']}{quote}{REDACTED}"


_KEYWORD: Final = r"(?:passw(?:or[dt]|d)|kennwort|passphrase)"
_WORDS: Final = r"[^\r\n,;|&]{0,100}?[ ]"
_SHELL_WORD: Final = r"""(?:"[^"\r\n]*+"|'[^'\r\n]*+')?[^\s]*+"""

_SIGNS_OF_LANGUAGES: Final = (
    "mot de passe", "mdp", "secr", "zugangss", "contrase", "senha", "wachtwoord", "senord",
    "adgangskode", "passord", "salasana", "haslo", "hasło", "heslo", "jelsz", "ifre", "parola",
    "zugangsdaten", "пароль",
    "κωδικός", "パスワード", "密", "口令", "비밀번호", "암호", "كلمة", "סיסמ", "पासवर्ड",
    "mật khẩu", "clave", "geheimnis", "passwort", "password", "pin",
)  # fmt: skip

_TOKEN_BODIES: Final = {
    r"[A-Za-z0-9_.=+/-]{20,}+": (
        "GR1348941", "gldt-", "glcbt-", "glrt-", "glft-", "glptt-", "glimt-", "glagent-", "glsoat-",
        "dckr_pat_", "dckr_oat_", "sq0atp-", "sq0csp-", "glsa_", "glc_", "hvs.", "hvb.", "hvr.",
        "figd_", "sntrys_", "fm1_", "fm2_", "GOCSPX-", "PMAK-", "dp.pt.", "pscale_",
    ),
    r"[A-Za-z0-9]{20,}+": (
        "shpat_", "shpca_", "shppa_", "shpss_", "lin_api_", "lin_oauth_", "ntn_", "sntryu_",
        "NRAK-", "rubygems_", "nfp_", "vcp_", "sbp_", "gsk_", "xai-", "pplx-", "AGE-SECRET-KEY-1",
        "AKCp", "cmVmdGtu",
    ),
    r"[A-Za-z0-9]{32,}+(?![_.-])": ("cio", "r8_", "pul-", "secret_"),
    r"[A-Za-z0-9_-]{60,}+": ("EAA", "sl."),
    r"[A-Za-z0-9_-]{40,}+": ("1//0",),
    r"[A-Za-z0-9]{14}\.[a-f0-9]{40,}+": ("pat",),
}  # fmt: skip
"""What follows the beginnings of services' tokens, and has a digit; words begin like the last."""


def _token(prefix: str, body: str) -> re.Pattern[str]:
    start = re.escape(prefix)  # the pattern begins with it: such are searched fastest
    boundary = rf"(?<![A-Za-z0-9_.-]{start})(?=[A-Za-z0-9_.=+/-]{{0,40}}[0-9])"
    return re.compile(start + boundary + body)


_TOKENS: Final = {
    prefix: _token(prefix, body) for body, prefixes in _TOKEN_BODIES.items() for prefix in prefixes
}


def _redact_tokens(text: str) -> str:
    for prefix, token in _TOKENS.items():
        if prefix in text:
            text = token.sub(REDACTED, text)
    return text


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
            rf"(?P<name><[\w:.-]{{0,40}}(?:{_KEYWORD}|secret|token"
            r"|(?:api|secret|access)_?key|pin(?=>[0-9]{4}))>(?:<!\[CDATA\[)?)"
            r"[^<\]]++(?=</|\]\]>)",
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
        (" -p", " -a ", " -w "),
        _replacing(
            r"(?P<name>(?<![A-Za-z0-9_])(?:(?:sshpass|mongo[a-z]{0,7}|(?:docker|az|oc)[ ]login)"
            rf"{_WORDS}-p[ ]?|7z[a-z]?{_WORDS}-p|(?:sqlcmd|bcp|unzip|zip){_WORDS}-P[ ]?"
            rf"|redis-cli{_WORDS}-a[ ]|ldap[a-z]{{1,10}}{_WORDS}-w[ ]))"
            r"(?!is\b)(?=[^\s-])" + _SHELL_WORD,
            rf"\g<name>{REDACTED}",
        ),
    ),
    _Rule(
        (
            "htpasswd",
            "smbclient",
            "net use",
            "identified by",
            "pass:",
            "jdbc:oracle",
            "login ",
            ":5432:",
        ),
        _replacing(
            r"""(?P<name>htpasswd[ ]-[a-z]{0,8}b[a-z]{0,8}[ ]\S{1,100}[ ]\S{1,64}[ ](?=\S)"""
            r"""|smbclient[ ][^\r\n]{0,100}?[ ]-U[ ]?[^\s%]{1,64}%"""
            r"""|net[ ]use[ ][^\r\n]{0,100}?/user:\S{1,64}[ ]"""
            r"""|:5432:[^:\s]{1,63}:[^:\s]{1,63}:"""
            r"""|identified[ ]by[ ]["']|(?<![A-Za-z0-9_])pass:(?=\S)"""
            r"""|jdbc:oracle:[a-z]{1,8}:[^\s/@]{1,64}/"""
            r"""|login[ ]\S{1,64}\s{1,4}password[ ](?=[a-z]{0,64}[^a-z\s]|\S{1,64}(?:\r?\n|\Z)))"""
            r"""[^\s"'@]++""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("schtasks", "storepass", "keypass", "-password", "securestring"),
        _replacing(
            r"(?P<name>schtasks[^\r\n]{0,100}?[ ]/rp[ ]|[ ]-(?:src|dest)?(?:store|key)pass[ ]"
            r"|(?<![\w-])-password[ ]|ConvertTo-SecureString[ ])"
            r"(?!-|(?:and|argument|flag|for|has|is|may|must|needs?|option|or|takes|to|was|with)\b)"
            r"(?=\S)" + _SHELL_WORD,
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("'value'", '"value"', "value:"),
        _replacing(
            r"""(?P<name>name["']?:[ ]{0,4}["']?[\w.-]{0,40}"""
            r"""(?:passw(?:or)?d|token|secret|[_-]key|authorization|cookie)["']?,?\s{1,40}"""
            r"""["']?value["']?:[ ]{0,4}["']?)[^\s"']++""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("',", '",'),
        _replacing(
            r"""(?P<name>\(b?["'][\w-]{0,40}(?:passw(?:or)?d|token|secret|[_-]key|authorization"""
            r"""|cookie)["'],[ ]?b?["'])[^"'\r\n]++(?=["'][,)])""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("auth plain", "auth login", '"d"', "private-lines"),
        _replacing(
            r"""(?P<name>auth[ ](?:plain|login)[ ](?=[A-Za-z+/]{0,200}[0-9=])"""
            r"""|"d"[ ]?:[ ]?"(?=[\w-]{40})|private-lines:[ ]?[0-9]{1,4}\s{1,2})[^\s"']++""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("$2", "$1$", "$5$", "$6$", "$y$", "$apr1$", "$argon2", "scram-sha-"),
        _replacing(  # a hash can be guessed from
            r"(?P<name>\$2[abxy]?\$[0-9]{2}\$|\$(?:[156y]|apr1)\$|\$argon2[id]{1,2}\$"
            r"|SCRAM-SHA-[0-9]{1,3}\$[0-9]{1,9}:)[^\s\"',:]{20,}+(?::[A-Za-z0-9+/=]{20,}+"
            r"|\$[A-Za-z0-9+/=:]{20,}+){0,2}",
            rf"\g<name>{REDACTED}",
        ),
    ),
    _Rule(
        ('name="',),
        _replacing(
            rf"""(?P<name>name="[\w.-]{{0,40}}(?:{_KEYWORD}|secret|token)[\w.-]{{0,40}}"\s{{1,8}})"""
            r"""(?![\w-]{1,40}=)[^\s"'<>/]++""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
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
        ("with password ",),
        _replacing(
            r"(?P<name>with password )(?=\S{0,64}[0-9!#$%&*@^])\S{4,}+",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("token ", "key ", "secret is "),
        _replacing(  # ids of ours have one case
            r"(?P<name>(?:[Tt]oken|[Kk]ey|[Ss]ecret)[ ](?:is[ ]|was[ ])?)(?=[^A-Z\s]{0,40}[A-Z])"
            r"(?=[^a-z\s]{0,40}[a-z])(?=[^0-9\s]{0,40}[0-9])[A-Za-z0-9_-]{20,}+",
            rf"\g<name>{REDACTED}",
        ),
    ),
    _Rule(
        (
            "kennwort",
            "pwd",
            "pass",
            "secret",
            "token",
            "key",
            "dsn",
            "credential",
            "psk",
            "client_assertion",
        ),
        _replacing(
            r"""(?P<name>
                (?: passw(?:or)?ds? | passwort | kennwort | pwd | pgpass | passphrase
                  | credentials? | dsn | [_-]pass | (?-i:(?<=[a-z])Pass)
                  | (?<![A-Za-z0-9])pass(?=["'=]|\\++["'])
                  | """
            + _KEY_NAMES
            + r"""
                  | psk | key-data | client_assertion
                  | (?:api|access|account|private|secret)[ ]keys?(?:[ ]provided)?
                  | (?<!unexpected[ ])tokens?(?![ ]{0,8}[:=][ ]{0,8}[0-9]{1,6}(?![\w.-]))
                  | secrets? )
                (?: [0-9]{1,4} | (?<=[dt])[_-](?:hash|value|key|base|old|new|[0-9]{1,4})
                  | (?<=key)_base | [ ](?:for|für|pour|para)[ ][^\s:=]{1,64} )?
                \\{0,8}["']?[ \t]{0,8} (?: => | := | ==? | : ) [ \t]{0,8}
            )"""
            + _VALUE_AFTER_NAME,
            _keep_quote,
            re.IGNORECASE | re.VERBOSE,
        ),
    ),
    _Rule(
        ("%3a", "%3d"),
        _replacing(
            rf"(?P<name>(?:{_KEYWORD}|secret|token)(?:%22)?%3[AD](?:%22)?)[^\s%&\"'<>]++",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        _SIGNS_OF_LANGUAGES,
        _replacing(
            rf"(?P<name>(?<![A-Za-z])(?:(?:{_IN_OTHER_LANGUAGES})(?:[ ]\w{{1,10}})?"
            r"\s{0,2}[:=\uff1a\uff1d]\s?"  # also as wide as a letter of Chinese
            rf"|(?:clave|geheimnis)[ ]?[:=][ ]?(?=\S{{0,64}}[0-9])"
            rf"|(?:{_IN_OTHER_LANGUAGES}|clave|passwor[dt]|pin)[ ]"
            r"(?:is|ist|lautet|est|es|è|é|är|er|on|jest|je)[ :]{1,2}(?=\S{4})(?=\S{0,64}[0-9])))"
            r"[^\s\"']++",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE | re.UNICODE,
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
            r"|hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{10,}+"
            r"|(?:ATATT|ATCTT|ATBB)[A-Za-z0-9_=-]{16,}+"
            r"|(?:AKIA|ASIA)[A-Z0-9]{16})",
            REDACTED,
        ),
    ),
    _Rule(
        ("key=", "sig=", "signature=", "code="),
        _replacing(
            r"""(?P<name>[?&](?:x-(?:amz|goog)-)?(?:key|sig|signature|code(?==[^\s&]{16}))=)[^\s&"'#<>]++""",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        (
            "aiza",
            "ya29.",
            "sk-",
            "sk_live",
            "sk_test",
            *(f"sk{digit}" for digit in "0123456789abcdef"),
            "rk_",
            "whsec_",
            "npm_",
            "pypi-",
            "sg.",
            "_v1_",
            "hf_",
        ),
        _replacing(
            r"(?<![A-Za-z0-9_])(?:AIza[A-Za-z0-9_-]{30,}+|ya29\.[A-Za-z0-9._-]{20,}+"
            r"|[sr]k_(?:live|test)_[A-Za-z0-9_-]{10,}+|whsec_[A-Za-z0-9_+/=-]{16,}+"
            r"|sk-(?:proj|ant|svcacct|admin|or|None)-[A-Za-z0-9_-]{16,}+|sk-[A-Za-z0-9]{20}[A-Za-z0-9_-]*+"
            r"|npm_[A-Za-z0-9]{20}[A-Za-z0-9_-]*+|pypi-[A-Za-z0-9_-]{32,}+"
            r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+|SK[0-9a-f]{32}(?![A-Za-z0-9_-])"
            r"|do[opr]_v1_[A-Za-z0-9_-]{32,}+|hf_[A-Za-z0-9]{20}[A-Za-z0-9_-]*+)",
            REDACTED,
        ),
    ),
    _Rule(tuple(prefix.lower() for prefix in _TOKENS), _redact_tokens),
    _Rule(
        ("key-", "-us", "dapi", "atlasv1", "bot", ":aa", "webhook"),
        _replacing(
            r"(?P<name>/api/webhooks/[0-9]{10,24}/|webhook\.office\.com/webhookb2/"
            r"|(?<![A-Za-z0-9])(?:bot)?[0-9]{6,12}:(?=[A-Za-z0-9_-]{30})"
            r"|(?<![A-Za-z0-9_-])(?:key-|dapi|[A-Za-z0-9]{14}\.atlasv1\.)(?=[A-Za-z0-9_=-]{32})"
            r"|(?<![A-Za-z0-9_-])(?=[0-9a-f]{32}-us[0-9]{1,2}(?![A-Za-z0-9_-])))"
            r"[A-Za-z0-9_.@/=-]{20,}+",
            rf"\g<name>{REDACTED}",
        ),
    ),
    _Rule(
        ("code",),
        _replacing(
            r"(?P<name>(?:verification|one-time|security|login|confirmation|access)[ ]code"
            r"(?:[ ]is|:)?[ ])[0-9]{4,8}(?![\w.-])",
            rf"\g<name>{REDACTED}",
            re.IGNORECASE,
        ),
    ),
    _Rule(
        ("pin", "otp", "cvv", "cvc", "sig=", "auth"),
        _replacing(
            r"""(?P<name>(?<![A-Za-z0-9_])(?:(?:pin|otp|cv[cv])["']?[ ]?[=:][ ]?["']?(?=[0-9]{3})"""
            r"""|(?:x-|_)?auth["']?[ ]?[=:][ ]?["']?(?=[\w+/=-]{12})(?-i:(?=[a-z]{0,40}[A-Z0-9]))"""
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
