"""Makes ``python -m bench`` the same as ``bench``."""

from bench.cli import entry_point as main

main()
