"""The dashboard: pages rendered on the server, over the same transactions as the API."""
