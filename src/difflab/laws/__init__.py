"""What every part must satisfy, as functions: each takes the parts and returns the worst case of one law.

`schedules.LAWS`, `targets.LAWS` and so on list the laws of one kind of part. The tests run them over conf/.
"""

from difflab.laws.worst import Worst, close, violations, worst

__all__ = ["Worst", "close", "violations", "worst"]
