"""Executes the first instructions of a small program, one at a time.

It imports nothing of ours but itself. ``__main__`` beside this folder starts it, inside the isolation of runs, because
the file that it executes is a stranger's.
"""
