//! Shipline's GitOps repository: byte-exact image edits and compare-and-swap commits.
