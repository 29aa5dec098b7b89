"""The loop that keeps a gate honest: fit, certify, promote by stages, watch, renew, and shut."""
