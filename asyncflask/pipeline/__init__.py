"""The way of a request: plan, stages, return values, errors."""
