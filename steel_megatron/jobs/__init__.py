"""Floor 0: what every long job over files shares: inputs, parts, pools, durable outputs. No torch here."""
