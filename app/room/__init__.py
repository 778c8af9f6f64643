"""The classroom's rules, as pure functions of what is stored and of the time: who is stuck, and what is shown of whom.

Times are seconds since 1970.
"""
