"""The project: rows of a file in a database of their own, with pipelines over them (project-database.md)."""

from actors.project.actor import ProjectActor

__all__ = ("ProjectActor",)
