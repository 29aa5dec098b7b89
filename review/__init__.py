"""The review queue: what waits for a person, who holds it, and what they said. For moderators."""
