"""Latencies of networks that nobody has timed.

- predictor: fitted to latencies measured on a device; gives an interval.
- estimate: fitted to published latencies of a phone that is not at hand; gives an interval.
- guess: decides what is worth measuring; never recorded or reported.
"""
