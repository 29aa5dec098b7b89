"""Which gate applies to an event: from the worker's settings, or as the `gates` topic goes on."""
