"""Execute the first instructions of a small program, one at a time.

The file is untrusted, so ``__main__`` beside this folder runs this package inside the isolation of runs. It imports no
other part of the playground.
"""
