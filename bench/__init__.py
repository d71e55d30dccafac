"""Speed beside other tools, on one machine, in one run: what counts are the ratios.

`python -m bench` runs everything and prints the table; `python -m bench small large` only those.
"""
