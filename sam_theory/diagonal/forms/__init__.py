"""Closed forms as programs in sympy, and what each must equal."""
