"""`llm-gateway keycloak setup`: a realm as the gateway needs it, through the admin API."""
