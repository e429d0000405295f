"""The processes of a run: how they meet, and how all end when one fails."""
