"""The explorer: a page with sliders, and the limits that training selects beside each other."""
