"""How one taxonomy stands now: its traffic, the error of what passes, its audits, its queue, and the items behind."""
