"""Which way of writing queries finds the most, judged with labels that no method sees."""
