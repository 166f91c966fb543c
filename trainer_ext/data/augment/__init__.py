"""New training rows from the rows there are: EDA, and the proposals of a masked language model."""
