"""What runs beside the product: the mock model server, the load test, the local runner."""
