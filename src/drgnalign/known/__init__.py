"""Maps held against what is known: maps of others, atomic models.

`read` takes in what a user gives, `fit` puts it into the frame of a cluster's map (`body`, `spectrum` and `search` are
what it is made of), `compare` says how far both agree, and which is which; `model` makes densities of
atoms, `chains` says which of them a map shows, and `q_score` how well.
"""
