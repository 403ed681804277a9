"""Models: the list of them, how a folder with one is recognised, where its weights lie, and how they are fetched.

Nothing here computes a vector; the families in visret/encoders/ do that.
"""
