"""Search for MobileViTv2-style networks under a latency budget."""
