"""What a system needs of its servers, and whether they have it: versions so far."""
