"""Runs a Cloudflare project here. Nothing is built yet: the folder keeps the place that the design gives it."""
