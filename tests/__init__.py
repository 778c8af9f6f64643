"""The tests; one file for each module, and what only several together can show."""
