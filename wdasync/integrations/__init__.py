"""Thin bridges to servers and web frameworks. Nothing here is imported by :mod:`wdasync` itself."""
