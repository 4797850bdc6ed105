"""enterpriseregistration.windows.net: device registration."""
