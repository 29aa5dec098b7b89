"""Watching what passes: whether its promise still holds, and whether what comes in has changed."""
