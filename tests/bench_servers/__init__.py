"""Compression in web servers, measured from outside: ``nox -s bench-servers``. See docs/explanation/performance.md."""
