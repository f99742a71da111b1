"""The Faust worker: from the topic of flagged listings to the topic of suspects."""
