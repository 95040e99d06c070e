"""Finite steps: plans, compiled steps of one run or of eight to a register, loops around them."""
