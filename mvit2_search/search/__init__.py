"""The search: what is asked, which candidates come next, what becomes of them."""
