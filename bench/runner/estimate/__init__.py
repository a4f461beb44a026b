"""The price of a plan before it is paid, from formulas and a short probe of the machine."""
