"""Data sources: a catalogue of SQLite files and Parquet for each account (data-sources.md)."""

from actors.sources.actor import SourcesActor

__all__ = ("SourcesActor",)
