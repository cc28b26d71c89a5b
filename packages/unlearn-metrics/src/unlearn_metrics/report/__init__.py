"""The report: one HTML file that says how well each method forgot and what it kept."""

from unlearn_metrics.report._gallery import GalleryItem
from unlearn_metrics.report._html import Html, element
from unlearn_metrics.report._page import document, write_report
from unlearn_metrics.report._run import run_details

__all__ = ["GalleryItem", "Html", "document", "element", "run_details", "write_report"]
