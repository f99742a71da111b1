"""OpenSearch: the seams, the query DSL and the client."""
