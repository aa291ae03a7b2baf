"""librilabs: readers upload texts, have them translated into many languages, and search them."""
