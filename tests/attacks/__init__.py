"""Hostile crates, configurations, requests and artefacts; ``docs/security.md`` has a row for each."""
