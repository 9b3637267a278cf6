"""Benchmarks of networks on the device at hand, beside what is predicted or published of them.

What is measured, what is predicted and what is published never share a column.
"""

from mvit2_search.bench.attention import AttentionBench, bench_attention
from mvit2_search.bench.files import write_attention, write_models, write_predict, write_rank
from mvit2_search.bench.models import ModelsBench, bench_models
from mvit2_search.bench.predict import PredictBench, bench_predict
from mvit2_search.bench.rank import RankBench, bench_rank

__all__ = [
    "AttentionBench",
    "ModelsBench",
    "PredictBench",
    "RankBench",
    "bench_attention",
    "bench_models",
    "bench_predict",
    "bench_rank",
    "write_attention",
    "write_models",
    "write_predict",
    "write_rank",
]
