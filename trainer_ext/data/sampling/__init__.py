"""Everything that draws rows: balancing and length grouping."""
