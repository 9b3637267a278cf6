"""Saved networks, run by the libraries that they are for. Each library is imported when it is asked for.

Plain arrays go in and come out: exporters check their files by these, and devices time them.
"""
