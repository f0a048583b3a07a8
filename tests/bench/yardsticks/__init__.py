"""What we measure ourselves against; none of it uses our code, apart from the schema."""
