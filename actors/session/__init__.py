"""The session: a scratch database for one conversation (code-mode-database.md)."""

from actors.session.actor import SessionActor

__all__ = ("SessionActor",)
