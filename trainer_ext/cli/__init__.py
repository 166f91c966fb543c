"""One file per command: typed options, a call, and what is printed."""
