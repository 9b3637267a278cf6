"""Statistics of a search: Pareto fronts, paired differences, the confirmation, the verdict, correlations."""
