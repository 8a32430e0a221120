"""The same small applications in each framework."""
