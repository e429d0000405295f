"""How weights follow from gradients: one file per rule, each with its ``RULE``; see optim/rule.py for what it is."""
