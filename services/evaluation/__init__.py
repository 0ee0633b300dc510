"""How good the answers are: sets of questions, measures with intervals, comparisons, and a report."""
