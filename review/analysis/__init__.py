"""What analysts look at and decide, put together from the ledger, the gates and the queue."""
