"""Hostile crates, configurations, requests and artifacts, each with a row in ``docs/security.md``."""
