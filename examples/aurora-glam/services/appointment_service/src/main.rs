//! Appointments at Aurora Glam: `/api/v1/appointments`.

mod appointments;

use std::process::ExitCode;

use aurora_common::{Service, serve};

fn main() -> ExitCode {
    serve(service())
}

fn service() -> Service {
    Service {
        name: "appointment-service",
        version: env!("CARGO_PKG_VERSION"),
        port: 8003,
        routes: appointments::routes(),
    }
}
