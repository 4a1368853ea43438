"""What is kept, and never believed: payloads, the catalogue, the folder's layout, the mirror."""
