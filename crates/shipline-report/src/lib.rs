//! Shipline's reporters: events to terminal, plain lines and JSON lines.
