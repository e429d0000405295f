"""One file per corpus; the registry finds them by being here."""
