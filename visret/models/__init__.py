"""Models: which there are, how a folder with one is recognised, where its weights lie, and how they are fetched.

Nothing here computes a vector: that is what the families in visret/encoders/ do.
"""
