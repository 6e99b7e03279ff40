"""An account owns actors; a key speaks for an account, within its scopes.

A key reads `dl_<id>_<secret>`. Only the SHA-256 of the whole is stored: the secret is 256 random bits, so a slow
hash would buy nothing. A key is shown once, when it is made. This process alone changes the table, so what it
remembers of a key is dropped in the moment the key is revoked: a revoked key fails with its next request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from runtime.clock import Clock
from runtime.context import LOCAL_ACCOUNT
from runtime.directory import Directory
from runtime.errors import InputError, NotFound
from runtime.ids import ActorAddress
from runtime.storage.transaction import Transaction
from runtime.values import dumps

__all__ = (
    "ACCOUNT_PATTERN",
    "DEFAULT_SCOPES",
    "LABEL_PATTERN",
    "LONGEST_LIFE_S",
    "SCOPES",
    "Accounts",
    "Grant",
    "KeyRecord",
)

SCOPES = ("read", "write", "run", "approve", "admin")
"""What a key may do: read, write, run code, approve what programs ask for, manage keys. `admin` holds the others.

A key has `approve` only when asked for: an agent's own key cannot approve what its programs want to do.
"""

DEFAULT_SCOPES = ("read", "write", "run")

_KEY = re.compile(rb"dl_([0-9a-f]{12})_[0-9a-f]{64}")
ACCOUNT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
LABEL_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
LONGEST_LIFE_S = 100 * 366 * 86_400
_REMEMBERED = 4_096
_NOTE_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Grant:
    """Who asks, and what for they may ask. `key` is the key's id; None is the local owner without one."""

    account: str
    scopes: frozenset[str]
    key: str | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as lists show it, never its secret. Moments are seconds since 1970."""

    id: str
    account: str
    label: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None
    last_used: float | None
    revoked: float | None


class Accounts:
    """The accounts and keys of one data folder, in its directory file."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._connection = directory.connection
        self._clock = clock
        self._grants: dict[bytes, Grant] = {}
        self._noted: dict[str, float] = {}
        self._unwritten: dict[str, float] = {}

    # Asking

    def known(self, key: bytes) -> Grant | None:
        """Return the grant of a key that was seen before and is still good, without asking the file."""
        # Looked up by hash: how long it takes says nothing about the secret.
        grant = self._grants.get(hashlib.sha256(key).digest())
        if grant is None or (grant.expires is not None and grant.expires <= self._clock.now()):
            return None
        self._note(grant)
        return grant

    async def authenticate(self, key: bytes) -> Grant | None:
        """Return the grant of a key, or None when it is malformed, unknown, expired or revoked."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        digest = hashlib.sha256(key).digest()
        row = await self._connection.run(
            lambda tx: tx.one(
                "SELECT id, account, hash, scopes, expires, revoked FROM keys WHERE id = ?",
                (found[1].decode(),),
            ),
            read_only=True,
        )
        if row is None or not hmac.compare_digest(str(row[2]), digest.hex()):
            return None
        expires = None if row[4] is None else float(row[4])
        if row[5] is not None or (expires is not None and expires <= self._clock.now()):
            return None
        grant = Grant(str(row[1]), _implied(str(row[3]).split()), str(row[0]), expires)
        if len(self._grants) >= _REMEMBERED:
            self._grants.clear()
        self._grants[digest] = grant
        self._note(grant)
        return grant

    async def any_keys(self) -> bool:
        """Tell whether there is a key that can be used."""
        row = await self._connection.run(
            lambda tx: tx.one(
                "SELECT 1 FROM keys WHERE revoked IS NULL AND (expires IS NULL OR expires > ?) LIMIT 1",
                (self._clock.now(),),
            ),
            read_only=True,
        )
        return row is not None

    # Managing

    async def create_key(
        self,
        account: str = LOCAL_ACCOUNT,
        *,
        scopes: Iterable[str] = DEFAULT_SCOPES,
        label: str = "",
        expires_s: float | None = None,
        by: Grant | None = None,
    ) -> tuple[str, KeyRecord]:
        """Make a key for an account, which is made with it if it is new. Return the key, shown this once, and its record.

        Raises:
            InputError: an account name, scope, label or life that cannot be.
        """
        wanted = tuple(s for s in SCOPES if s in set(_checked_scopes(scopes)))
        if not re.fullmatch(ACCOUNT_PATTERN, account):
            raise InputError(
                f"The account name {account!r:.80} is not valid.",
                hint="Use 1 to 64 letters, digits, '.', '_', '@' or '-', beginning with a letter or digit.",
            )
        if len(label) > 200 or not re.fullmatch(LABEL_PATTERN, label):
            raise InputError(
                "The label is too long, or holds control characters.", hint="Use at most 200 characters."
            )
        if expires_s is not None and not 0 < expires_s <= LONGEST_LIFE_S:
            raise InputError(
                "expires_s is out of range.", hint="Give the key's life in seconds, up to 100 years."
            )
        now = self._clock.now()
        identity = secrets.token_hex(6)
        key = f"dl_{identity}_{secrets.token_hex(32)}"
        expires = None if expires_s is None else now + expires_s
        digest = hashlib.sha256(key.encode()).hexdigest()

        def write(tx: Transaction) -> None:
            tx.execute("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?)", (account, account, now))
            tx.execute(
                "INSERT INTO keys (id, account, hash, scopes, label, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (identity, account, digest, " ".join(wanted), label, now, expires),
            )
            _audit(tx, now, by, "key.create", identity, {"account": account, "scopes": wanted})

        await self._connection.run(write)
        return key, KeyRecord(identity, account, label, wanted, now, expires, None, None)

    async def revoke_key(self, identity: str, *, by: Grant | None = None) -> bool:
        """Revoke a key, with effect on the next request. Return False if it was revoked before.

        Raises:
            NotFound: there is no such key.
        """
        now = self._clock.now()

        def write(tx: Transaction) -> bool:
            row = tx.one("SELECT revoked FROM keys WHERE id = ?", (identity,))
            if row is None:
                raise NotFound(
                    f"There is no key with the id {identity!r:.40}.", hint="GET /v1/keys lists them."
                )
            if row[0] is not None:
                return False
            tx.execute("UPDATE keys SET revoked = ? WHERE id = ?", (now, identity))
            _audit(tx, now, by, "key.revoke", identity, None)
            return True

        self._forget(identity)
        revoked = await self._connection.run(write)
        # Once more: a request that read the row before it changed may have put the grant back.
        self._forget(identity)
        return revoked

    async def list_keys(
        self, account: str | None = None, *, after: str = "", limit: int = 100
    ) -> list[KeyRecord]:
        """Return keys in the order of their ids, those after the id `after`; None: of all accounts."""
        await self.flush()
        rows = await self._connection.run(
            lambda tx: tx.all(
                "SELECT id, account, label, scopes, created, expires, last_used, revoked FROM keys"
                " WHERE id > ? AND (? IS NULL OR account = ?) ORDER BY id LIMIT ?",
                (after, account, account, limit),
            ),
            read_only=True,
        )
        return [KeyRecord(r[0], r[1], r[2], tuple(str(r[3]).split()), r[4], r[5], r[6], r[7]) for r in rows]

    async def audit_delete(self, address: ActorAddress, by: Grant | None) -> None:
        """Write down that an actor was deleted, and by whom."""
        now = self._clock.now()
        await self._connection.run(
            lambda tx: _audit(tx, now, by, "actor.delete", f"{address.type}/{address.name}", None), quick=True
        )

    async def flush(self) -> None:
        """Write down when keys were last used."""
        used, self._unwritten = self._unwritten, {}
        if used:
            await self._connection.run(
                lambda tx: (
                    tx.executemany(
                        "UPDATE keys SET last_used = ? WHERE id = ?", [(at, i) for i, at in used.items()]
                    )
                    and None
                )
            )

    @property
    def notes_wait(self) -> bool:
        """Whether `flush()` has something to write."""
        return bool(self._unwritten)

    # Parts

    def _note(self, grant: Grant) -> None:
        if grant.key is None:
            return
        now = self._clock.now()
        if now - self._noted.get(grant.key, 0.0) >= _NOTE_AFTER_S:
            if len(self._noted) >= _REMEMBERED:
                self._noted.clear()
            self._noted[grant.key] = self._unwritten[grant.key] = now

    def _forget(self, identity: str) -> None:
        for digest in [d for d, grant in self._grants.items() if grant.key == identity]:
            del self._grants[digest]


def _implied(scopes: Iterable[str]) -> frozenset[str]:
    given = frozenset(scopes)
    return frozenset(SCOPES) if "admin" in given else given


def _checked_scopes(scopes: Iterable[str]) -> list[str]:
    wanted = list(scopes)
    unknown = [s for s in wanted if s not in SCOPES]
    if unknown or not wanted:
        raise InputError(
            f"There is no scope {unknown[0]!r:.40}." if unknown else "A key needs at least one scope.",
            hint="Scopes: " + ", ".join(SCOPES) + ".",
        )
    return wanted


def _audit(tx: Transaction, now: float, by: Grant | None, action: str, target: str, detail: object) -> None:
    tx.execute(
        "INSERT INTO audit (at, account, key, action, target, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (
            now,
            by.account if by else LOCAL_ACCOUNT,
            by.key if by else None,
            action,
            target,
            None if detail is None else dumps(detail).decode(),
        ),
    )
