"""What `bench_gateway.py` is made of: the upstreams, the gateways side by side, the load."""
