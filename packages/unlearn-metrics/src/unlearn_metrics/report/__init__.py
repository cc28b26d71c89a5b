"""The report: one HTML file that says how well each method forgot and what it kept."""

from unlearn_metrics.report._gallery import GalleryItem
from unlearn_metrics.report._page import write_report

__all__ = ["GalleryItem", "write_report"]
