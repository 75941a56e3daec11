"""Drivers carry out what the machine decides: time, randomness, durability, running actions."""
