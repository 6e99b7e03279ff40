"""The built-in actor types, one folder each. A type is its migrations, its policy and its methods."""
