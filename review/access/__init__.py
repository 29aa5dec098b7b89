"""Who may do what: roles, accounts, sign-in, API tokens, and the log of who did it."""
