"""A study and benchmarks as people read them: tables first, figures second, one offline file last."""
