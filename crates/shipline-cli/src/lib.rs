//! Shipline: one pipeline.yaml, from commit to cluster.
