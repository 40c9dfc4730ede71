"""Who may come in: tokens, what each may do, and the sessions of browsers."""

import hashlib
import hmac
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from unsee.errors import OptionError
from unsee.events import warn

Role = Literal["requester", "approver", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)
MAY: dict[str, tuple[Role, ...]] = {  # what is done -> who may; reading is for all of them
    "request": ("requester", "approver"),
    "decide": ("approver",),
    "settle": ("requester", "approver"),
}
LASTS = 12 * 3600.0  # seconds of a browser's session
MOST_SESSIONS = 1000
SHORTEST = 16  # characters of a token that a client may present
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Visitor:
    """Somebody who showed a token."""

    name: str
    role: Role
    key: str = field(default="", compare=False, repr=False)  # digest of the token that let them in

    def may(self, what: str) -> bool:
        """Return whether this role may do one of MAY."""
        return self.role in MAY[what]


def digest(token: str) -> str:
    """Return the SHA-256 of a token, which is all that is kept of it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass
class Access:
    """Tokens by their digests, and the browsers that are in.

    Args:
        tokens: digest -> whom it lets in.
        links: digests of secrets that open the door from a link, one time each -> whom they let in.
        clock: seconds that only ever grow.
        file: which the tokens are read from, again whenever it has changed.

    """

    tokens: dict[str, Visitor]
    links: dict[str, Visitor] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    file: Path | None = None
    sessions: dict[str, tuple[Visitor, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seen = None if self.file is None else _state(self.file)

    def look(self) -> None:
        """Read the file again if it has changed; one with a fault changes nothing, and is told."""
        if self.file is None or (now := _state(self.file)) == self._seen:
            return
        self._seen = now
        try:
            self.tokens = _tokens(self.file)
        except OptionError as error:
            warn(f"{error}; until it is mended, who was let in before still is")

    def by_token(self, token: str) -> Visitor | None:
        """Return whom a token lets in; every known one is compared, whatever fits."""
        self.look()
        if not SHORTEST <= len(token) <= 200:
            return None
        given, found = digest(token), None
        for known, visitor in self.tokens.items():
            if hmac.compare_digest(given, known):
                found = visitor
        return found

    def link(self, token: str) -> str:
        """Return a secret for a link that lets in as a token does, once, and nowhere else.

        Addresses stay in histories and logs, so the token itself is in none.  Raises KeyError if
        the token is not known.
        """
        secret = secrets.token_urlsafe(32)
        self.links[digest(secret)] = self.tokens[digest(token)]
        return secret

    def by_link(self, secret: str) -> Visitor | None:
        """Return whom a link lets in: the first time alone; of two at once one, for pop is one."""
        return self.links.pop(digest(secret), None)

    def enter(self, visitor: Visitor) -> str:
        """Start a session and return its secret; the oldest one goes if there are too many."""
        now = self.clock()
        self.sessions = {key: x for key, x in self.sessions.items() if x[1] > now}
        while len(self.sessions) >= MOST_SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        secret = secrets.token_urlsafe(32)
        self.sessions[digest(secret)] = visitor, now + LASTS
        return secret

    def by_session(self, secret: str) -> Visitor | None:
        """Return who is behind a session; None if it is over, or its token is known no more."""
        self.look()
        visitor, until = self.sessions.get(digest(secret), (None, 0.0))
        return self.tokens.get(visitor.key) if visitor and until > self.clock() else None

    def leave(self, secret: str) -> None:
        """End a session."""
        self.sessions.pop(digest(secret), None)


def fresh() -> tuple[Access, dict[Role, str]]:
    """Return access by new random tokens, one for each role, which is its name, too."""
    tokens: dict[Role, str] = {role: secrets.token_urlsafe(32) for role in ROLES}
    known = {(key := digest(token)): Visitor(role, role, key) for role, token in tokens.items()}
    return Access(known), tokens


def from_file(path: Path) -> Access:
    """Read who may come in: lines ``role name sha256-of-the-token``, and comments after ``#``.

    Raises:
        OptionError: if the file cannot be read, others than its owner can read or write it, or a
            line is of another form.

    """
    return Access(_tokens(path), file=path)


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file does; () where it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _tokens(path: Path) -> dict[str, Visitor]:
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OptionError(f"Expected a file of tokens for --token-file, got {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise OptionError(
            f"Expected {path} to be its owner's alone, got mode {stat.S_IMODE(mode):o}: "
            f"chmod 600 {path}"
        )
    return dict(_lines(text.splitlines(), path))


def _lines(lines: Iterable[str], path: Path) -> Iterable[tuple[str, Visitor]]:
    names, digests = set[str](), set[str]()
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        role = next((r for r in ROLES if r == words[0]), None)
        if len(words) != 3 or role is None or not DIGEST.fullmatch(words[2]):
            raise OptionError(
                f"Expected `role name sha256` with a role among {[*ROLES]} in line {number} of "
                f"{path.name}: printf %s TOKEN | sha256sum gives the digest"
            )
        if words[1] in names or words[2] in digests:
            raise OptionError(f"Expected each name and token once, got line {number} again")
        names.add(words[1])
        digests.add(words[2])
        yield words[2], Visitor(words[1], role, words[2])
    if not names:
        raise OptionError(f"Expected at least one line `role name sha256` in {path}, got none")
