"""Images from strangers: fetched, checked, decoded and resized where they can do no harm."""
