"""What would be, were the promise, the costs or the audits others: answers for analysts, before anything is changed."""
