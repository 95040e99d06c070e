"""Ratios of medians from one interleaved run: the project beside what a user would pick instead.

Absolute times depend on the machine; the ratio to a named peer in the same run is what counts,
and every time stands beside the error that it bought.
"""
