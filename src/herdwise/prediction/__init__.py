"""Learn quality, cost, length, latency and calibration from outcomes."""
