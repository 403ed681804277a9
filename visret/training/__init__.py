"""How visret's own models were made, to be run again by anyone."""
