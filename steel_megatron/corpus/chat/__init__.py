"""Conversations as text, by chat templates whose marks are told apart from what people wrote."""
