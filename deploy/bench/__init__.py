"""`tidegate bench`: what the README claims, measured. Every command prints one JSON line."""
