"""The search itself: what is asked, which candidates come next, what becomes of them."""

from mvit2_search.interrupt import Interrupt, Terminated
from mvit2_search.search.driver import run_search
from mvit2_search.search.events import Listener, Silent
from mvit2_search.search.request import Request

__all__ = ["Interrupt", "Listener", "Request", "Silent", "Terminated", "run_search"]
