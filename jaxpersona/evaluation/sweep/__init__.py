"""Methods compared over budgets, numbers of pairs and seeds."""
