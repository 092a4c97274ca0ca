"""Addresses of links and pictures as ADF may carry them: absolute, safe, in ASCII."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_IGNORED = re.compile(r"[\x00-\x20\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]+")
_UNSAFE = frozenset({
    "about", "blob", "data", "file", "filesystem", "javascript", "jscript", "livescript", "mocha",
    "vbscript", "view-source", "ws", "wss",
})  # fmt: skip
_NOT_IN_HOST = re.compile(r"[\s\[\]<>^|\\{}]")
"""No browser goes to a host with one of these; around an IPv6 address there are none any more."""

_PLAIN = re.compile(r"(?:https?:/)?/[!#$&-;=-~]+")
"""Nothing of such an address has to be written in another way; most are so."""

_PLAIN_RELATIVE = re.compile(r"\w[\w-]*(?:[./][\w-]+)*(?:#[!$&-;=?-~]+)?", re.ASCII)
"""It only has to be joined to a folder's address."""

_ALLOWED_IN_ADDRESSES = "!#$%&'()*+,/:;=?@[]~"


class AddressResolver:
    """Resolves addresses against a base.

    Args:
        base_url: an absolute http or https address, or None: relative addresses lead nowhere.

    Attributes:
        unresolved: how many addresses were relative, where no base was given.

    """

    def __init__(self, base_url: str | None) -> None:
        self._base_url = base_url
        self._page = None if base_url is None else urldefrag(base_url).url
        folder = re.match(r"https?://[!$&-;=@-~]+/(?=[^/?]*(?:\?|\Z))", self._page or "")
        self._folder = None if folder is None or "/." in folder[0] else folder[0]
        self.unresolved = 0

    def resolve(self, address: str) -> str | None:
        """Return the absolute address; None for one that leads nowhere or could run a program.

        Browsers drop white space and control characters before they look for the scheme (WHATWG
        URL); so does this.
        """
        if address[:4] == "http" and _PLAIN.fullmatch(address) is not None:
            return address
        if self._folder is not None and _PLAIN_RELATIVE.fullmatch(address) is not None:
            return self._folder + address
        if self._page and address[:1] == "#" != address and _PLAIN.fullmatch(f"/{address}"):
            return self._page + address
        scheme = _SCHEME.match(_IGNORED.sub("", address))
        address = address.strip()
        if address.startswith("//"):
            address = f"https:{address}"
        elif scheme is None:
            if self._base_url is None or not address:
                self.unresolved += bool(address)
                return None
            address = urljoin(self._base_url, address)
        elif scheme[1].lower() in _UNSAFE or len(scheme[1]) == 1:  # a drive of Windows
            return None
        return _in_ascii(address)

    def resolve_picture(self, address: str) -> str | None:
        """Return the absolute address of a picture: http or https, nothing else can be shown."""
        resolved = self.resolve(address)
        return resolved if resolved and resolved[:4].lower() == "http" else None


def _in_ascii(address: str) -> str | None:
    """Percent-encode the address and write its host in Punycode; None for what is no address."""
    try:
        parts = urlsplit(address)
        host = unquote(parts.hostname or "")
        if _NOT_IN_HOST.search(host) is not None:
            return None
        netloc = parts.netloc
        if not host.isascii():
            at, port = netloc.rpartition("@")[0], parts.port
            netloc = (f"{at}@" if at else "") + host.encode("idna").decode("ascii")
            netloc += f":{port}" if port else ""
        address = parts._replace(netloc=netloc).geturl()
    except ValueError:  # a host that is none; UnicodeError is one
        return None
    return quote(address, safe=_ALLOWED_IN_ADDRESSES)
