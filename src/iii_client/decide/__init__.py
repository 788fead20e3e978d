"""An opinion: fingerprint, hits and answers become a verdict, and a verdict an action. Pure functions."""

from iii_client.decide.guard import review_only
from iii_client.decide.judge import judge
from iii_client.decide.policy import TablePolicy
from iii_client.decide.rows import DEFAULT_RULES

__all__ = ["DEFAULT_RULES", "TablePolicy", "judge", "review_only"]
