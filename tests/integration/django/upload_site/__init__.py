"""A small project that takes uploads in every way that Django knows."""
