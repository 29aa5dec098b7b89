"""How far a confidence can be trusted: signals, outcomes, audits and the gate. Imports no other room."""
