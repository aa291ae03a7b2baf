"""Accounts: who somebody is, and for how long we believe it. Used by systems that have sign-ins."""
