"""How the rooms are put together: the `tidegate` command, the local all-in-one, benchmarks."""
