"""Migrations: no table, only the name and the permission of encounters in the admin."""
