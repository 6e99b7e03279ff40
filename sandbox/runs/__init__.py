"""A run is a program on an actor's database: recorded, paused for approval where asked, resumed after a crash."""

from sandbox.runs.methods import CodeMethods

__all__ = ("CodeMethods",)
