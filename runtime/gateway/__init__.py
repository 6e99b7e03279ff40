"""The HTTP edge: every method of every actor type as a route, derived from its spec (DESIGN section 6)."""
