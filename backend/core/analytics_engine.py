"""What is counted of steps and executions: the seam where the application measures."""

from __future__ import annotations

import logging

_logger = logging.getLogger(__name__)


class AnalyticsEngine:
    """Writes one log record for each thing that is tracked."""

    def track_step_execution(self, **facts: object) -> None:
        """Note that a step has ended.

        Args:
            facts: ``workflow_id execution_id step_id step_name event_type duration_ms status error_message
                resource_id user_id``.
        """
        _logger.info("step %s", facts)

    def track_workflow_execution(self, **facts: object) -> None:
        """Note that an execution has ended.

        Args:
            facts: ``workflow_id success duration_seconds time_saved_seconds business_value``.
        """
        _logger.info("workflow %s", facts)


_analytics_engine = AnalyticsEngine()


def get_analytics_engine() -> AnalyticsEngine:
    """Return the one of this process."""
    return _analytics_engine
