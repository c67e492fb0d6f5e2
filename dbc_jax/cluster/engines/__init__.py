"""How merges are computed: on a matrix, without one, or ranked."""
