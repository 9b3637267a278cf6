"""Benchmarks of the published family on the device at hand, beside what is published of it.

What is measured and what is published never share a column.
"""

from mvit2_search.bench.attention import AttentionBench, bench_attention
from mvit2_search.bench.files import write_attention, write_models
from mvit2_search.bench.models import ModelsBench, bench_models

__all__ = ["AttentionBench", "ModelsBench", "bench_attention", "bench_models", "write_attention", "write_models"]
