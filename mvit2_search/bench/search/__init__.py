"""Samplers compared on problems whose true front is known: how much of it each finds, by evaluations."""

from mvit2_search.bench.search.files import write_search
from mvit2_search.bench.search.peers import PEERS
from mvit2_search.bench.search.problems import PROBLEMS
from mvit2_search.bench.search.run import SearchBench, bench_search

__all__ = ["PEERS", "PROBLEMS", "SearchBench", "bench_search", "write_search"]
